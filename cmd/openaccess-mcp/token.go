package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Make bearer tokens for callers over HTTP", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tokenNewCommand())
	return cmd
}

func tokenNewCommand() *cobra.Command {
	var src sources
	var file, expires string
	var o server.TokenOptions
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a token, and print it this once",
		Long: "Make a token, print it, and add its entry to the file of tokens that auth.tokens or --file names. The file holds the hash of the token only: a token " +
			"that is lost is replaced by a new one. A running server reads the file again within a second.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the caller: openaccess-mcp token new NAME")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Name = args[0]
			if o.Expires, err = expiry(expires, time.Now()); err != nil {
				return err
			}
			if file == "" {
				cfg, err := src.load()
				if err != nil {
					return err
				}
				file = cfg.Auth.Tokens
			}
			if file == "" {
				return usageError{errors.New("name the file of tokens with --file or auth.tokens")}
			}
			token, err := server.NewToken(file, o)
			if err != nil {
				return usageError{err}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "added %s to %s; the token is shown this once\n", o.Name, file)
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	src.add(cmd)
	cmd.Flags().StringVar(&file, "file", "", "`FILE` of tokens, instead of the configured one")
	cmd.Flags().StringVar(&expires, "expires", "90d", "`DAYS` such as 90d, hours such as 12h, a day such as 2027-01-31, or never")
	cmd.Flags().StringSliceVar(&o.Profiles, "for-profiles", nil, "`IDS` of profiles, or patterns such as web-*; all unless given")
	cmd.Flags().StringSliceVar(&o.Tools, "for-tools", nil, "`TOOLS` such as ssh_exec, or patterns; all unless given")
	cmd.Flags().StringSliceVar(&o.Roles, "roles", nil, "`ROLES` that profiles' policies name")
	return cmd
}

// expiry reads when a token ends; zero is never.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "never" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.AddDate(0, 0, n).UTC().Truncate(time.Second), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil && t.After(now) {
		return t.UTC(), nil
	}
	return time.Time{}, usageError{fmt.Errorf("--expires: %q is no time to come; write 90d, 12h, a day such as 2027-01-31, or never", text)}
}
