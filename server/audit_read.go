package server

import (
	"context"
	"crypto/ed25519"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
)

// What programs read of an audit record. A place is a SQLite file or a postgres:// URL without a password.
type (
	AuditRecord   = audit.Record
	AuditFilter   = audit.Filter
	AuditHead     = audit.Head
	AuditVerified = audit.Verified
)

// VerifyAudit finds out whether anything in a record was changed, removed or put in another place, with the public key alone; with a head that was
// kept elsewhere also whether the end was cut off. The error says which record is the first that does not fit.
func VerifyAudit(ctx context.Context, place string, key ed25519.PublicKey, head *AuditHead) (AuditVerified, error) {
	return audit.Verify(ctx, place, key, head)
}

// ListAudit gives the records of calls that the filter admits to each, in their order, until that fails.
func ListAudit(ctx context.Context, place string, f AuditFilter, each func(*AuditRecord) error) error {
	return audit.List(ctx, place, f, each)
}

// ExportAudit gives every record to each, signatures included.
func ExportAudit(ctx context.Context, place string, each func(*AuditRecord) error) error {
	return audit.All(ctx, place, each)
}

// ReadAuditHead reads a head from a file.
func ReadAuditHead(file string) (*AuditHead, error) { return audit.ReadHead(file) }

// NewestAuditHead is the head of a record now.
func NewestAuditHead(ctx context.Context, place string) (*AuditHead, error) {
	return audit.ReadStoreHead(ctx, place)
}

// AuditPublicKey reads a public key, or the public half of a private one, from a file.
func AuditPublicKey(file string) (ed25519.PublicKey, error) { return audit.PublicKey(file) }

// AuditPublicPEM is a public key as files hold it.
func AuditPublicPEM(key ed25519.PublicKey) []byte { return audit.PublicPEM(key) }

// KeyFile is the file of the private key that signs the record.
func (a Audit) KeyFile() string {
	if a.Key != "" || audit.IsURL(a.Path) {
		return a.Key
	}
	return a.Path + ".key"
}
