package gateway

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	text := "listen: 127.0.0.1:9000\nbackends:\n- http://127.0.0.1:1\n- {url: http://127.0.0.1:2/other, drain: true}\nprobe_interval: 0.5\neject_after: 2\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(Sources{File: file, Environ: []string{"OPENACCESS_GATEWAY_EJECT_AFTER=3", "OPENACCESS_GATEWAY_STRATEGY=round-robin", "OPENACCESS_LISTEN=x"},
		Flags: []Flag{{"--eject-after", "eject_after", "4"}}})
	got.Logger = nil
	want := Config{
		Backends: []Backend{{URL: "http://127.0.0.1:1"}, {URL: "http://127.0.0.1:2/other", Drain: true}},
		Listen:   "127.0.0.1:9000", Strategy: RoundRobin, ProbeInterval: 0.5, ProbeTimeout: 2, EjectAfter: 4, EjectFor: 1, DrainTimeout: 10, LogLevel: "info", Waiting: 16384, WaitingPerAddress: 12288,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = Load(Sources{Environ: []string{"OPENACCESS_GATEWAY_CONFIG=" + file, "OPENACCESS_GATEWAY_BACKENDS=http://127.0.0.1:3, http://127.0.0.1:4"}})
	if err != nil || len(got.Backends) != 2 || got.Backends[1].URL != "http://127.0.0.1:4" || got.Listen != "127.0.0.1:9000" {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = Load(Sources{File: file, Flags: []Flag{{"--backend", "backends", "http://127.0.0.1:5"}}})
	if err != nil || len(got.Backends) != 1 || got.Backends[0].URL != "http://127.0.0.1:5" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLoadMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		environ []string
		flags   []Flag
		want    []string
	}{
		"no server":       {"", nil, nil, []string{"backends: none is given", "--backend"}},
		"unknown key":     {"listen: 127.0.0.1:1\nbackend: x\n", nil, nil, []string{":2:1: ", "unknown field", "backends, listen"}},
		"wrong type":      {"probe_interval: soon\n", nil, nil, []string{":1:17: "}},
		"unknown sub-key": {"backends:\n- {url: http://127.0.0.1:1, weight: 3}\n", nil, nil, []string{"weight"}},
		"strategy":        {"backends: [http://127.0.0.1:1]\nstrategy: random\n", nil, nil, []string{"strategy: \"random\" is none of least-in-flight, round-robin"}},
		"twice":           {"backends: [http://127.0.0.1:1, http://127.0.0.1:1/mcp]\n", nil, nil, []string{"given twice"}},
		"not here":        {"backends: [http://example.com:1]\n", nil, nil, []string{"not on this machine"}},
		"tls":             {"backends: [https://127.0.0.1:1]\n", nil, nil, []string{"write it as http://127.0.0.1:8731/mcp"}},
		"too little":      {"backends: [http://127.0.0.1:1]\nprobe_interval: 0.001\n", nil, nil, []string{"probe_interval: 0.001 is less than 0.01"}},
		"variable":        {"", []string{"OPENACCESS_GATEWAY_BACKEND=x"}, nil, []string{"environment variable OPENACCESS_GATEWAY_BACKEND: unknown", "backends"}},
		"number":          {"", nil, []Flag{{"--eject-after", "eject_after", "few"}}, []string{"flag --eject-after: \"few\" is no whole number"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "gateway.yaml")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(Sources{File: file, Environ: tc.environ, Flags: tc.flags})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
	if _, err := Load(Sources{File: "absent.yaml"}); err == nil || !strings.Contains(err.Error(), "create it") {
		t.Errorf("an absent file: %v", err)
	}
}
