package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// sources says where the configuration comes from: flags win over the environment, that over the file, and the file over preset and
// defaults.
type sources struct {
	file string
	keys []keyFlag
	set  []string // KEY=VALUE
}

// keyFlag is a flag that gives a key of the configuration.
type keyFlag struct {
	key  string
	flag *pflag.Flag
}

// add makes the flags that all commands with a configuration have.
func (s *sources) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "config", "", "YAML configuration `FILE`")
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "`KEY=VALUE` of any key of the configuration, such as connection_pooling.idle_timeout=60; may be repeated")
	s.key(cmd, "preset", "preset", "`default|production` values for what is not given")
	s.key(cmd, "profiles", "profiles", "`DIR` of host profiles (default \"profiles\")")
	s.key(cmd, "secrets", "secrets", "`DIR` of secrets (default \"secrets\")")
}

// key makes the flag name for one key.
func (s *sources) key(cmd *cobra.Command, name, key, usage string) {
	cmd.Flags().String(name, "", usage)
	s.keys = append(s.keys, keyFlag{key, cmd.Flags().Lookup(name)})
}

// load reads the configuration anew from everywhere. Its error is a usageError.
func (s *sources) load() (server.Config, error) {
	src := server.Sources{File: s.file, Environ: os.Environ()}
	for _, k := range s.keys {
		if k.flag.Changed {
			src.Flags = append(src.Flags, server.Flag{Name: "--" + k.flag.Name, Key: k.key, Value: k.flag.Value.String()})
		}
	}
	for _, kv := range s.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return server.Config{}, usageError{fmt.Errorf("--set: %q is not KEY=VALUE", kv)}
		}
		src.Flags = append(src.Flags, server.Flag{Name: "--set", Key: key, Value: value})
	}
	cfg, err := server.Load(src)
	if err != nil {
		return cfg, usageError{err}
	}
	cfg.Version = version()
	return cfg, nil
}

func configCommand() *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in effect, and where each value comes from",
		Long: "Print the configuration that serve would use with the same flags, file and environment, as YAML, with the origin of each value " +
			"behind it. The output is a configuration file itself.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			return cfg.WriteSettings(cmd.OutOrStdout())
		},
	}
	src.add(cmd)
	serveFlags(cmd, &src)
	return cmd
}

// serveFlags makes the flags for keys that only matter to serve.
func serveFlags(cmd *cobra.Command, src *sources) {
	src.key(cmd, "transport", "transport", "`stdio|http` (default \"stdio\")")
	src.key(cmd, "listen", "listen", "loopback `ADDR` of the http transport (default \"127.0.0.1:8722\")")
	src.key(cmd, "audit", "audit.path", "`FILE` for the record of every call (default \"openaccess-mcp/audit.db\" in the state folder); --set audit.enabled=false keeps none")
	src.key(cmd, "log-level", "log_level", "`debug|info|warn|error` (default \"info\")")
}
