package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// rsyncShellCommand is what the server's rsync starts as its remote shell. Where it is started so, package helper has done its work before
// main; here comes only who calls it by hand.
func rsyncShellCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rsync-shell", Short: "Remote shell of the rsync that the server runs", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("rsync-shell is started by the server's own rsync, for one sync; there is nothing to do with it by hand")}
		},
	}
}
