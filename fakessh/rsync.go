package fakessh

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// rsyncMount is where the SSH side sees the directory that rsync works in.
const rsyncMount = "/rsync"

// rsyncHost is the rsync of a host with Options.Rsync: the program of this
// machine, which serves a temporary directory.
type rsyncHost struct {
	program string
	dir     string
	root    *os.Root // of dir
}

// newRsyncHost makes the directory, and a mount point in fs.
func newRsyncHost(fs *memfs.FS) (*rsyncHost, error) {
	program, err := exec.LookPath("rsync")
	if err != nil {
		return nil, fmt.Errorf("fakessh: rsync: %v: install the package rsync, or leave Options.Rsync out", err)
	}
	if err := fs.MkdirAll(rsyncMount, 0o755); err != nil {
		return nil, fmt.Errorf("fakessh: rsync: %v", err)
	}
	dir, err := os.MkdirTemp("", "fakessh-rsync-")
	if err != nil {
		return nil, fmt.Errorf("fakessh: rsync: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("fakessh: rsync: %v", err)
	}
	return &rsyncHost{program, dir, root}, nil
}

func (r *rsyncHost) close() error {
	r.root.Close()
	return os.RemoveAll(r.dir)
}

// RsyncDir returns the directory on this machine that the SSH side sees at
// /rsync, "" without Options.Rsync.
func (h *Host) RsyncDir() string {
	if h.rsync == nil {
		return ""
	}
	return h.rsync.dir
}

// rsyncGrace is how long rsync may take to tidy up after it was told to stop.
const rsyncGrace = 2 * time.Second

// command is the Handler of rsync: its server side, or its version.
func (r *rsyncHost) command(ctx context.Context, c *Command) int {
	args, stdin := c.Args[1:], c.Stdin
	if len(args) != 1 || args[0] != "--version" {
		var err error
		if args, stdin, err = r.serverSide(c); err != nil {
			return c.fail(3, "%v", err)
		}
	}
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, c.Stdout, c.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = rsyncGrace
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return c.fail(5, "%v", err)
	}
	go func() { // until rsync or the channel has ended
		io.Copy(in, stdin)
		in.Close()
	}()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 20 // what rsync returns when a signal ends it
}

// serverSide checks the command line of a server side and leads its paths to
// the directory. With -s, all but the first options come over standard input,
// each ended by a zero byte, and an empty one ends them.
func (r *rsyncHost) serverSide(c *Command) (args []string, stdin io.Reader, err error) {
	if len(c.Args) < 2 || c.Args[1] != "--server" {
		return nil, nil, errors.New("only the server side is here; run rsync with this host as its remote one")
	}
	args, stdin = c.Args[1:], c.Stdin
	if !secluded(args) {
		args, err = r.translate(c, args)
		return args, stdin, err
	}
	if err := checkRsyncOptions(args); err != nil {
		return nil, nil, err
	}
	in := bufio.NewReader(c.Stdin)
	var sent []string
	for {
		arg, err := in.ReadString(0)
		if err != nil {
			return nil, nil, errors.New("the arguments on standard input end too early")
		}
		if arg = arg[:len(arg)-1]; arg == "" {
			break
		}
		sent = append(sent, arg)
	}
	if sent, err = r.translate(c, sent); err != nil {
		return nil, nil, err
	}
	var text bytes.Buffer
	for _, arg := range append(sent, "") {
		text.WriteString(arg + "\x00")
	}
	return args, io.MultiReader(&text, in), nil
}

// secluded reports whether a cluster of short options holds an s.
func secluded(args []string) bool {
	for _, arg := range args {
		if short, _, _ := strings.Cut(arg, "e"); !strings.HasPrefix(arg, "--") && strings.HasPrefix(arg, "-") && strings.Contains(short, "s") {
			return true
		}
	}
	return false
}

// translate checks the options, which end at the argument ".", and replaces
// the paths after it.
func (r *rsyncHost) translate(c *Command, args []string) ([]string, error) {
	var out []string
	for i, arg := range args {
		out = append(out, arg)
		if arg != "." {
			continue
		}
		if err := checkRsyncOptions(args[:i]); err != nil {
			return nil, err
		}
		for _, name := range args[i+1:] {
			real, err := r.real(c.Path(name))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if strings.HasSuffix(name, "/") {
				real += "/"
			}
			out = append(out, real)
		}
		return out, nil
	}
	return nil, errors.New("a server side has an argument \".\" before its paths")
}

// real returns the path on this machine of one below the mount point. A
// symbolic link that is there already does not lead out.
func (r *rsyncHost) real(name string) (string, error) {
	rel, ok := below(rsyncMount, name)
	if !ok {
		return "", errors.New("not below " + rsyncMount + ", and nothing else is served")
	}
	if _, err := r.root.Stat(filepath.FromSlash(rel)); err != nil && !os.IsNotExist(err) {
		return "", err
	}
	return path.Join(filepath.ToSlash(r.dir), rel), nil
}

// below returns an absolute clean path relative to dir.
func below(dir, name string) (rel string, ok bool) {
	if name == dir {
		return ".", true
	}
	return strings.CutPrefix(name, dir+"/")
}

// Options that may come from a client: none that names another path or follows
// links out of the directory.
const rsyncShort = "AbBcdDEgHhiIJlmnNoOpqrRsStUuvVWxXyz0"

var rsyncLong = []string{
	"--server", "--sender", "--append", "--append-verify", "--bwlimit", "--checksum-choice", "--checksum-seed", "--compress-choice",
	"--compress-level", "--delay-updates", "--delete", "--delete-after", "--delete-before", "--delete-delay", "--delete-during",
	"--delete-excluded", "--existing", "--force", "--fsync", "--ignore-errors", "--ignore-existing", "--inplace", "--log-format",
	"--max-delete", "--max-size", "--min-size", "--mkpath", "--modify-window", "--no-r", "--numeric-ids", "--partial", "--safe-links",
	"--size-only", "--stats", "--timeout",
}

func checkRsyncOptions(args []string) error {
	for _, arg := range args {
		long, _, _ := strings.Cut(arg, "=")
		switch {
		case arg == "rsync", arg == ".": // the name of the program, where arguments come over standard input
		case strings.HasPrefix(arg, "--"):
			if !slices.Contains(rsyncLong, long) {
				return fmt.Errorf("the option %s is not served", long)
			}
		case strings.HasPrefix(arg, "-"):
			short, _, _ := strings.Cut(arg[1:], "e") // what follows are capabilities
			if bad := strings.Trim(short, rsyncShort+"123456789"); bad != "" {
				return fmt.Errorf("the option -%c is not served", bad[0])
			}
		default:
			return fmt.Errorf("the argument %s is not served", arg)
		}
	}
	return nil
}

// mount adds the directory to the handlers of a tree.
func (r *rsyncHost) mount(h sftp.Handlers) sftp.Handlers {
	m := mounted{h, disk{r.root}}
	return sftp.Handlers{FileGet: m, FilePut: m, FileCmd: m, FileList: m}
}
