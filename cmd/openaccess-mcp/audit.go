package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify, read and export the record of calls",
		Long: "Verify, read and export the record of calls.\n\nThe record is the one that serve would write to with the same flags, environment and file, " +
			"or the one that --database names.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditVerifyCommand(), auditListCommand(), auditExportCommand(), auditHeadCommand(), auditKeyCommand())
	return cmd
}

// auditPlace says which record a command is about.
type auditPlace struct {
	src      sources
	database string
}

func (p *auditPlace) add(cmd *cobra.Command) {
	p.src.add(cmd)
	p.src.key(cmd, "audit", "audit.path", "the same as --database, as serve has it")
	cmd.Flags().StringVar(&p.database, "database", "", "SQLite `FILE` or postgres:// URL of the record, instead of the configured one")
}

func (p *auditPlace) find() (string, error) {
	if p.database != "" {
		return p.database, nil
	}
	cfg, err := p.src.load()
	if err != nil {
		return "", err
	}
	if cfg.Audit.Path == "" {
		return "", usageError{errors.New("there is no state folder, since neither HOME nor XDG_STATE_HOME is set: name the record with --database")}
	}
	return cfg.Audit.Path, nil
}

func auditVerifyCommand() *cobra.Command {
	var place auditPlace
	var key, head string
	cmd := &cobra.Command{
		Use:   "verify --public-key FILE [--head FILE]",
		Short: "Find records that were changed, removed or put in another place",
		Long: "Find records that were changed, removed or put in another place, with the public key alone, which `audit key` prints. Keep it where those " +
			"who can write the record cannot write.\n\nWith a head that was kept elsewhere, by audit.head or `audit head`, it is also found when records " +
			"were cut off at the end. Exits 1 when something is wrong, 2 for bad usage.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := place.find()
			if err != nil {
				return err
			}
			return verifyAudit(cmd, at, key, head)
		},
	}
	place.add(cmd)
	cmd.Flags().StringVar(&key, "public-key", "", "`FILE` of the public key")
	cmd.Flags().StringVar(&head, "head", "", "`FILE` of a head that was kept elsewhere")
	return cmd
}

func verifyAudit(cmd *cobra.Command, place, keyFile, headFile string) error {
	if keyFile == "" {
		return usageError{errors.New("name the public key with --public-key FILE; `openaccess-mcp audit key` prints it")}
	}
	key, err := server.AuditPublicKey(keyFile)
	if err != nil {
		return usageError{err}
	}
	var head *server.AuditHead
	if headFile != "" {
		if head, err = server.ReadAuditHead(headFile); err != nil {
			return usageError{err}
		}
	}
	got, err := server.VerifyAudit(cmd.Context(), place, key, head)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d records and %d signatures: nothing was changed, removed or put in another place\n", got.Records, got.Signatures)
	if got.Tail {
		fmt.Fprintf(out, "nothing was cut off at the end: all up to record %d, of the head, is there\n", head.Seq)
	} else {
		fmt.Fprintln(out, "the end was not checked: whether records were cut off there shows with --head FILE only")
	}
	return nil
}

func auditListCommand() *cobra.Command {
	var place auditPlace
	var f server.AuditFilter
	var since, until string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List records of calls",
		Long:  "List records of calls, the oldest first. Nothing is verified; `audit verify` does that.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := place.find()
			if err != nil {
				return err
			}
			now := time.Now()
			if f.Since, err = moment("--since", since, now); err != nil {
				return err
			}
			if f.Until, err = moment("--until", until, now); err != nil {
				return err
			}
			return buffered(cmd.OutOrStdout(), func(w *bufio.Writer) error {
				return server.ListAudit(cmd.Context(), at, f, func(r *server.AuditRecord) error { return writeRecord(w, r, asJSON) })
			})
		},
	}
	place.add(cmd)
	cmd.Flags().StringVar(&since, "since", "", "from this `TIME` on: 2026-05-04T03:02:01Z, 2026-05-04, or 24h ago")
	cmd.Flags().StringVar(&until, "until", "", "before this `TIME`")
	cmd.Flags().StringVar(&f.Profile, "profile", "", "of this profile")
	cmd.Flags().StringVar(&f.Operation, "operation", "", "of this operation, such as ssh.exec")
	cmd.Flags().StringVar(&f.Actor, "actor", "", "of this actor")
	cmd.Flags().StringVar(&f.Code, "code", "", "outcomes with this error `CODE`, or ok")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// moment reads a time: in full, a day of the local time zone, or how long ago.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, usageError{fmt.Errorf("%s: %q is no time; write it as 2026-05-04T03:02:01Z, 2026-05-04, or 24h for a day ago", flag, text)}
}

// buffered gives a writer that is flushed in the end.
func buffered(out io.Writer, write func(w *bufio.Writer) error) error {
	w := bufio.NewWriterSize(out, 64<<10)
	return errors.Join(write(w), w.Flush())
}

func writeRecord(w *bufio.Writer, r *server.AuditRecord, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	fmt.Fprintf(w, "%s %-7s", r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Kind)
	for _, text := range []string{r.Call, r.Operation, r.Profile, r.Actor} {
		if text != "" {
			fmt.Fprintf(w, " %s", plain(text))
		}
	}
	switch {
	case r.Kind == "gap":
		fmt.Fprintf(w, " %d records could not be written", r.Lost)
	case r.Kind == "outcome" && r.Code == "":
		fmt.Fprintf(w, " ok %v", time.Duration(r.DurationNS).Round(time.Microsecond))
	case r.Kind == "outcome":
		fmt.Fprintf(w, " %s %v", r.Code, time.Duration(r.DurationNS).Round(time.Microsecond))
	case r.Command != "":
		fmt.Fprintf(w, " %s", strconv.Quote(r.Command))
	}
	return w.WriteByte('\n')
}

// plain quotes a text that could draw on a terminal or be taken for two.
func plain(s string) string {
	if q := strconv.Quote(s); len(q) != len(s)+2 {
		return q
	}
	for _, c := range s {
		if c == ' ' {
			return strconv.Quote(s)
		}
	}
	return s
}

func auditExportCommand() *cobra.Command {
	var place auditPlace
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print all records as JSON lines",
		Long: "Print all records as JSON lines, signatures included: {\"seq\", \"hash\", \"record\"}, the record as it is stored. hash is the SHA-256 of the hash before " +
			"and the record.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := place.find()
			if err != nil {
				return err
			}
			return buffered(cmd.OutOrStdout(), func(w *bufio.Writer) error {
				return server.ExportAudit(cmd.Context(), at, func(r *server.AuditRecord) error {
					_, err := fmt.Fprintf(w, "{\"seq\":%d,\"hash\":%q,\"record\":%s}\n", r.Seq, hex.EncodeToString(r.Hash), r.Text)
					return err
				})
			})
		},
	}
	place.add(cmd)
	return cmd
}

func auditHeadCommand() *cobra.Command {
	var place auditPlace
	cmd := &cobra.Command{
		Use:   "head",
		Short: "Print the newest signature, to be kept elsewhere",
		Long: "Print the newest signature. Kept where those who can write the record cannot write, it lets `audit verify --head FILE` find that records were " +
			"cut off at the end. A server with audit.head keeps such a file itself.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := place.find()
			if err != nil {
				return err
			}
			head, err := server.NewestAuditHead(cmd.Context(), at)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(head.Text())
			return err
		},
	}
	place.add(cmd)
	return cmd
}

func auditKeyCommand() *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the public key of the record",
		Long:  "Print the public key under which the signatures of the record hold, for `audit verify`.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			key, err := server.AuditPublicKey(cfg.Audit.KeyFile())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(server.AuditPublicPEM(key))
			return err
		},
	}
	src.add(cmd)
	src.key(cmd, "audit", "audit.path", "`FILE` of the record, whose key lies beside it as FILE.key unless audit.key names another")
	return cmd
}
