package secret

import (
	"bytes"
	"time"

	"golang.org/x/crypto/ssh"
)

// certify puts the key with its certificate before the key alone, so that a host that trusts the authority is shown that first. source is what
// holds the document.
func (c *Credential) certify(d *document, source, dir string) error {
	field, text := "certificate", d.Certificate
	fail := func(message, remedy string) error {
		at := d.place(field)
		return &Error{Source: source, Line: at.line, Column: at.column, Field: field, Message: message, Remedy: remedy}
	}
	if d.CertificatePath != "" {
		field = "certificate_path"
		path, err := keyPath(dir, d.CertificatePath)
		if err != nil {
			return fail(err.Error(), "write the absolute path")
		}
		data, err := read(path, false)
		if err != nil {
			return err
		}
		c.Files = append(c.Files, path)
		text = string(data)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	cert, ok := public.(*ssh.Certificate)
	switch {
	case err != nil || !ok:
		return fail("not a certificate", "use the line that ssh-keygen -s wrote to a file whose name ends in -cert.pub")
	case cert.CertType != ssh.UserCert:
		return fail("a certificate of a host, not of a user", "sign the key without -h")
	case !bytes.Equal(cert.Key.Marshal(), c.signers[0].PublicKey().Marshal()):
		return fail("for another key, "+ssh.FingerprintSHA256(cert.Key), "have the key signed that stands beside it, "+ssh.FingerprintSHA256(c.signers[0].PublicKey()))
	case cert.ValidBefore != ssh.CertTimeInfinity && time.Now().Unix() >= int64(cert.ValidBefore):
		return fail("expired at "+time.Unix(int64(cert.ValidBefore), 0).UTC().Format(time.RFC3339), "have the key signed again, or remove the certificate where the key alone may log in")
	}
	signer, err := ssh.NewCertSigner(cert, c.signers[0])
	if err != nil {
		return fail("of no use with the key", "have the key signed again")
	}
	c.signers = []ssh.Signer{signer, c.signers[0]}
	return nil
}
