package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func checkCommand() *cobra.Command {
	var src sources
	var explained string
	cmd := &cobra.Command{
		Use:   "check [--explain PROFILE COMMAND]",
		Short: "List every mistake in configuration, profiles and secrets, or explain what a policy says of a command",
		Long: "List every mistake in configuration, profiles and secrets, each with file, line, field and remedy. " +
			"No host is contacted. Exits 2 when there is one.\n\n" +
			"With --explain PROFILE, say instead how the profile's policy reads COMMAND: each simple command in it and the rule that admits or " +
			"refuses it. Exits 0 when it is admitted, 1 when it is refused, 2 when it cannot be asked.",
		Args: func(cmd *cobra.Command, args []string) error {
			if explained == "" {
				return noArgs(cmd, args)
			}
			if len(args) != 1 {
				return usageError{errors.New("--explain PROFILE needs one command; put it in quotes")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			if explained != "" {
				return explain(cmd, cfg, explained, args[0])
			}
			profiles, problems := server.Check(cfg)
			for _, p := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), p.Error())
			}
			if len(problems) > 0 {
				return usageError{fmt.Errorf("%s found", count(len(problems), "mistake"))}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s, no mistakes\n", count(profiles, "profile"))
			return nil
		},
	}
	src.add(cmd)
	serveFlags(cmd, &src)
	cmd.Flags().StringVar(&explained, "explain", "", "say what the policy of this `PROFILE` makes of a command")
	return cmd
}

// explain prints what a policy says of a command. A refused one is an error.
func explain(cmd *cobra.Command, cfg server.Config, id, command string) error {
	e, err := server.Explain(cfg, id, command)
	if err != nil {
		return usageError{err}
	}
	if err := e.Write(cmd.OutOrStdout()); err != nil {
		return err
	}
	if !e.Allowed {
		return errors.New("the command is refused")
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
