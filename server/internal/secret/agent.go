package secret

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentTimeout bounds one exchange with the agent. A key that wants to be
// confirmed or touched has that long.
const agentTimeout = 30 * time.Second

func agentError(err error, message, remedy string) *Error {
	return &Error{Source: "SSH agent", Message: message, Remedy: remedy, Err: err}
}

// fromAgent lists the agent's keys. The connection is closed again: each
// signature opens its own, so that nothing is held and a new agent is met.
func (r *Resolver) fromAgent(ctx context.Context, want string) (*Credential, error) {
	socket, _ := r.lookupEnv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, agentError(nil, "SSH_AUTH_SOCK is not set", "start ssh-agent and pass SSH_AUTH_SOCK to the server")
	}
	var keys []*agent.Key
	err := withAgent(ctx, socket, func(a agent.ExtendedAgent) (err error) {
		keys, err = a.List()
		return err
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, agentError(err, "no answer", "check that the agent at SSH_AUTH_SOCK runs")
	}
	c := &Credential{}
	for _, key := range keys {
		public, err := ssh.ParsePublicKey(key.Blob)
		if err != nil { // a kind of key that could not be used anyway
			continue
		}
		if want == "" || want == key.Comment || want == ssh.FingerprintSHA256(public) {
			c.signers = append(c.signers, &agentSigner{socket, public})
		}
	}
	switch {
	case len(c.signers) > 0:
		return c, nil
	case want != "":
		return nil, agentError(nil, fmt.Sprintf("holds no key with comment or fingerprint %q", want), "ssh-add the key, or see ssh-add -l for the names")
	}
	return nil, agentError(nil, "holds no keys", "ssh-add one")
}

func withAgent(ctx context.Context, socket string, use func(agent.ExtendedAgent) error) error {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	return use(agent.NewClient(conn))
}

// agentSigner signs with a key that stays in the agent.
type agentSigner struct {
	socket string
	public ssh.PublicKey
}

func (s *agentSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *agentSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm lets RSA keys sign with SHA-2, which hosts ask for today.
func (s *agentSigner) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	var flags agent.SignatureFlags
	switch algorithm {
	case ssh.KeyAlgoRSASHA256:
		flags = agent.SignatureFlagRsaSha256
	case ssh.KeyAlgoRSASHA512:
		flags = agent.SignatureFlagRsaSha512
	}
	var signature *ssh.Signature
	err := withAgent(context.Background(), s.socket, func(a agent.ExtendedAgent) (err error) {
		signature, err = a.SignWithFlags(s.public, data, flags)
		return err
	})
	if err != nil {
		return nil, agentError(err, "could not sign", "check that the key is still in the agent and not waiting for a confirmation")
	}
	return signature, nil
}
