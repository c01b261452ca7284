package fakessh

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats are counts since the host started.
type Stats struct {
	Connections     int64 // TCP connections accepted
	OpenConnections int64
	Sessions        int64 // session channels accepted
	OpenSessions    int64 // with their command, until it has returned
	Running         int64 // commands whose handler has not returned
	Forwards        int64 // connections forwarded, either way
	OpenForwards    int64
	Listeners       int64 // addresses that it was ever asked to listen on, and did
	OpenListeners   int64 // addresses listened on for clients
	FilesCreated    int64 // opens over SFTP that may create a file, and succeeded
	FilesRenamed    int64 // renames over SFTP that succeeded
	Refused         int64 // connections that faults refused, among Connections
	AuthFailures    int64 // passwords and keys refused; one login may try several
	// Commands holds what happened to each command, by its first word, sudo
	// left out. All unknown commands count under "".
	Commands map[string]CommandStats
}

// CommandStats counts the runs of one command.
type CommandStats struct {
	Started  int64 // the handler was called
	Finished int64 // it returned by itself
	Killed   int64 // it returned after a signal, or after its channel was closed
}

type stats struct {
	connsOpened, connsClosed       atomic.Int64
	sessionsOpened, sessionsClosed atomic.Int64
	forwardsOpened, forwardsClosed atomic.Int64
	listenersOpened                atomic.Int64
	listenersClosed                atomic.Int64
	filesCreated, filesRenamed     atomic.Int64
	authFailures, refused          atomic.Int64

	mu       sync.Mutex
	running  int64
	commands map[string]CommandStats
}

func (s *stats) commandStarted(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commands == nil {
		s.commands = make(map[string]CommandStats)
	}
	s.running++
	c := s.commands[name]
	c.Started++
	s.commands[name] = c
}

func (s *stats) commandEnded(name string, killed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	c := s.commands[name]
	if killed {
		c.Killed++
	} else {
		c.Finished++
	}
	s.commands[name] = c
}

// Stats returns the counts as they are now.
func (h *Host) Stats() Stats {
	s := &h.stats
	closedConns, closedSessions := s.connsClosed.Load(), s.sessionsClosed.Load()
	closedForwards, closedListeners := s.forwardsClosed.Load(), s.listenersClosed.Load()
	out := Stats{
		Connections:  s.connsOpened.Load(),
		Sessions:     s.sessionsOpened.Load(),
		Forwards:     s.forwardsOpened.Load(),
		Refused:      s.refused.Load(),
		AuthFailures: s.authFailures.Load(),
		Listeners:    s.listenersOpened.Load(),
		FilesCreated: s.filesCreated.Load(),
		FilesRenamed: s.filesRenamed.Load(),
	}
	out.OpenForwards = out.Forwards - closedForwards
	out.OpenListeners = out.Listeners - closedListeners
	out.OpenConnections = out.Connections - closedConns
	out.OpenSessions = out.Sessions - closedSessions
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Running = s.running
	out.Commands = maps.Clone(s.commands)
	return out
}
