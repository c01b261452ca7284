package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func checkCommand() *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "check",
		Short: "List every mistake in configuration, profiles and secrets",
		Long: "List every mistake in configuration, profiles and secrets, each with file, line, field and remedy. " +
			"No host is contacted. Exits 2 when there is one.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
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
	return cmd
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
