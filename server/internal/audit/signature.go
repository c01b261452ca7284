package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The last record of each commit is a signature, a link of the chain as others are: what it signs is its number, the hash before it and its own
// text up to the signature. So it vouches for all records before it, signatures included, and a valid last one for the whole store.
const (
	signaturePrefix = `{"v":1,"kind":"signature","at":"`
	signatureField  = `,"signature":"`
	signatureEnd    = `"}`
	signatureDomain = "openaccess-mcp audit signature 1\n" // so that no signature made for anything else passes
)

// strictBase64 knows one form of each signature only.
var strictBase64 = base64.RawStdEncoding.Strict()

func isSignature(record []byte) bool { return bytes.HasPrefix(record, []byte(signaturePrefix)) }

// sign is the signature record with the number seq behind the record with the hash before.
func (s *signer) sign(seq int64, before hash, at time.Time) []byte {
	text := at.UTC().AppendFormat([]byte(signaturePrefix), time.RFC3339Nano)
	text = append(text, '"')
	signature := ed25519.Sign(s.private, signed(seq, before, text))
	text = strictBase64.AppendEncode(append(text, signatureField...), signature)
	return append(text, signatureEnd...)
}

func signed(seq int64, before hash, text []byte) []byte {
	message := binary.BigEndian.AppendUint64([]byte(signatureDomain), uint64(seq))
	return append(append(message, before[:]...), text...)
}

// checkSignature says what is wrong with a signature record; empty is nothing.
func checkSignature(key ed25519.PublicKey, seq int64, before hash, record []byte) string {
	if !isSignature(record) {
		return "it is no signature, so nothing vouches for it"
	}
	at := bytes.LastIndex(record, []byte(signatureField))
	encoded, ok := bytes.CutSuffix(record[max(at, 0):], []byte(signatureEnd))
	if at < 0 || !ok {
		return "the signature is malformed"
	}
	signature, err := strictBase64.DecodeString(string(encoded[len(signatureField):]))
	if err != nil || !ed25519.Verify(key, signed(seq, before, record[:at]), signature) {
		return "the signature is not one of this key over the records up to it"
	}
	return ""
}

// Head is the newest signature of a store, to be kept where nobody who can write the store can write. With it Verify finds that records were cut
// off at the end.
type Head struct {
	Version int    `json:"v"`      // 1
	Seq     int64  `json:"seq"`    // of the signature
	Before  string `json:"before"` // hash of the record before, in hexadecimal
	Record  string `json:"record"` // the signature record
}

func newHead(seq int64, before hash, record []byte) Head {
	return Head{Version: 1, Seq: seq, Before: hex.EncodeToString(before[:]), Record: string(record)}
}

// hash is that of the signature record.
func (h *Head) hash(key ed25519.PublicKey) (sum hash, err error) {
	before, err := hex.DecodeString(h.Before)
	if err != nil || len(before) != len(sum) || h.Version != 1 {
		return sum, errors.New("is no head of an audit record")
	}
	copy(sum[:], before)
	if why := checkSignature(key, h.Seq, sum, []byte(h.Record)); why != "" {
		return sum, errors.New("is not signed with this key")
	}
	sum.chain([]byte(h.Record), nil)
	return sum, nil
}

// ReadHead reads what WriteTo of a Head wrote. Verify checks its signature.
func ReadHead(path string) (*Head, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h := new(Head)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("%s is no head of an audit record: %w", path, err)
	}
	return h, nil
}

// Text is the head as a file holds it.
func (h *Head) Text() []byte {
	data, _ := json.Marshal(h) // never fails
	return append(data, '\n')
}

// save puts the head into a file as a whole, so that a reader sees the old one or the new one.
func (h *Head) save(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".head-*")
	if err != nil {
		return bare(err)
	}
	_, err = f.Write(h.Text())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return bare(err)
	}
	return nil
}
