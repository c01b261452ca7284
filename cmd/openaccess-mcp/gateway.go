package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server/gateway"
)

func gatewayCommand() *cobra.Command {
	var src gatewaySources
	cmd := &cobra.Command{
		Use:   "gateway --backend URL...",
		Short: "Balance MCP clients over several servers",
		Long: "Balance MCP clients over several servers, behind one HTTP endpoint.\n\nEvery flag is also a key of the configuration file, with underscores for " +
			"dashes and backends for --backend, and a variable of the environment: OPENACCESS_GATEWAY_LISTEN, OPENACCESS_GATEWAY_BACKENDS=URL,URL. " +
			"Flags win over the environment, that over the file. On SIGHUP the configuration is read again: servers come, go and are drained without a " +
			"call being cut. On SIGTERM calls under way get drain_timeout seconds to end. /healthz, /readyz and /status are served beside /mcp.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			return runGateway(cmd, &src, cfg)
		},
	}
	src.add(cmd)
	return cmd
}

// gatewaySources says where the gateway's configuration comes from.
type gatewaySources struct {
	file     string
	backends []string
	keys     []keyFlag
}

func (s *gatewaySources) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "config", "", "YAML configuration `FILE`")
	cmd.Flags().StringArrayVar(&s.backends, "backend", nil, "`URL` of a server's MCP endpoint, such as http://127.0.0.1:8731/mcp; may be repeated")
	key := func(name, key, usage string) {
		cmd.Flags().String(name, "", usage)
		s.keys = append(s.keys, keyFlag{key, cmd.Flags().Lookup(name)})
	}
	key("listen", "listen", "`ADDR`, beyond loopback only with tokens or JWTs, TLS and hosts (default \""+gateway.DefaultListen+"\")")
	key("strategy", "strategy", "`least-in-flight|round-robin` (default \"least-in-flight\")")
	key("probe-interval", "probe_interval", "`SECONDS` between two probes of a server's /readyz (default 1)")
	key("probe-timeout", "probe_timeout", "`SECONDS` for the answer to one (default 2)")
	key("eject-after", "eject_after", "`N` calls that fail in a row until a server gets no more (default 5)")
	key("eject-for", "eject_for", "`SECONDS` until it is tried again with one call, doubling as long as that fails (default 1)")
	key("drain-timeout", "drain_timeout", "`SECONDS` for calls under way once the gateway must stop (default 10)")
	key("tokens", "tokens", "`FILE` of tokens, the same as the servers'; without any, this machine's processes may come")
	key("jwt-issuer", "jwt_issuer", "whose JWTs are good: the iss claim `TEXT`")
	key("jwt-audience", "jwt_audience", "the gateway's name there: an aud claim `TEXT`")
	key("jwt-keys", "jwt_keys", "`URL` or file of the issuer's key set")
	key("jwt-scope", "jwt_scope", "`SCOPE` that a JWT must have, if any")
	key("resource", "resource", "`URL` of the endpoint as clients know it")
	key("rate-limit", "rate_limit", "`N` requests a second of each caller; without it, servers have theirs alone")
	key("tls-certificate", "tls_certificate", "`FILE` of the certificate and its chain")
	key("tls-key", "tls_key", "`FILE` of its private key")
	key("behind-proxy", "behind_proxy", "`true|false`: TLS ends at a proxy that nobody can go around (default false)")
	key("hosts", "hosts", "`NAME` besides those of loopback that requests may be for")
	key("origins", "origins", "`URL` of a web page, besides those of loopback, that may call")
	key("log-level", "log_level", "`debug|info|warn|error` (default \"info\")")
}

// load reads the configuration anew from everywhere. Its error is a usageError.
func (s *gatewaySources) load() (gateway.Config, error) {
	src := gateway.Sources{File: s.file, Environ: os.Environ()}
	for _, url := range s.backends {
		src.Flags = append(src.Flags, gateway.Flag{Name: "--backend", Key: "backends", Value: url})
	}
	for _, k := range s.keys {
		if k.flag.Changed {
			src.Flags = append(src.Flags, gateway.Flag{Name: "--" + k.flag.Name, Key: k.key, Value: k.flag.Value.String()})
		}
	}
	cfg, err := gateway.Load(src)
	if err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

func runGateway(cmd *cobra.Command, src *gatewaySources, cfg gateway.Config) error {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // Load has checked it
	cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	g, err := gateway.New(cfg)
	if err != nil {
		return usageError{err}
	}
	stop := onHangup(func() {
		next, err := src.load()
		if err == nil {
			next.Logger = cfg.Logger
			err = g.Reload(next)
		}
		if err != nil {
			cfg.Logger.Error("configuration not reloaded; the one before stays", "error", err)
			return
		}
		_ = level.UnmarshalText([]byte(next.LogLevel))
	})
	defer stop()
	return g.Run(cmd.Context())
}
