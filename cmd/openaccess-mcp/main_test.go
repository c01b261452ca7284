package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// asProgram makes the test binary behave as openaccess-mcp, for tests that start it as a child.
const asProgram = "TEST_AS_OPENACCESS_MCP"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	var tests testscript.TestingM = m
	if filepath.Base(os.Args[0]) != "openaccess-mcp" { // as which a script starts it
		state, err := os.MkdirTemp("", "openaccess-state")
		if err != nil {
			panic(err)
		}
		os.Setenv("XDG_STATE_HOME", state) // where children keep their audit record
		tests = removing{m, state}
	}
	testscript.Main(tests, map[string]func(){"openaccess-mcp": main})
}

// removing runs the tests and then removes a folder.
type removing struct {
	testscript.TestingM
	dir string
}

func (r removing) Run() int {
	defer os.RemoveAll(r.dir)
	return r.TestingM.Run()
}

func TestScripts(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			return host.WriteProfile(env.WorkDir, "fake")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE PROGRAM ARG... runs a program and wants this exit code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				code := "0"
				if err != nil {
					code = err.Error()[len("exit status "):]
				}
				if code != args[0] {
					ts.Fatalf("%v exited %s, want %s", args[1:], code, args[0])
				}
			},
		},
	})
}
