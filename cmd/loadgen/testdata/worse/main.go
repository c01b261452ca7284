//go:build linux

// Command worse is the server with a fault of its own, for the proof that a gate finds it: it uses more memory, or more CPU beside its calls. The
// linker is told which; the product has no such thing. It takes the arguments of openaccess-mcp serve over stdio.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// fault is what the linker puts in: "cpu", "memory" or "".
var fault string

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "worse:", err)
		os.Exit(1)
	}
}

func serve() error {
	f := pflag.NewFlagSet("worse", pflag.ContinueOnError)
	profiles, secrets, config := f.String("profiles", "", ""), f.String("secrets", "", ""), f.String("config", "", "")
	if err := f.Parse(os.Args[1:]); err != nil {
		return err
	}
	var cfg server.Config
	if *config != "" {
		var err error
		if cfg, err = server.LoadConfig(*config); err != nil {
			return err
		}
	}
	cfg.Profiles, cfg.Secrets, cfg.Logger = *profiles, *secrets, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.Audit.Path = os.Getenv("OPENACCESS_AUDIT_PATH")
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	switch fault {
	case "cpu":
		go burn()
	case "memory":
		if err := hoard(); err != nil {
			return err
		}
	}
	var in io.Reader = os.Stdin
	return s.Run(context.Background(), server.Stdio(in, os.Stdout))
}

// burn uses a fifth of a CPU, in a thread that gives way to all others, so that calls take no longer.
func burn() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	for {
		for began := time.Now(); time.Since(began) < 200*time.Microsecond; {
		}
		ts := unix.NsecToTimespec(int64(800 * time.Microsecond))
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
	}
}

// hoard holds 24 MiB that the collector does not know, so that it collects as often as without.
func hoard() error {
	b, err := unix.Mmap(-1, 0, 24<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return err
}
