package mongotest

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Fault is what happens to some commands instead of, or beside, what they ask for.
type Fault struct {
	// Command is the name of the command that it happens to: insert, update, find, …; "" is any
	// but those with which a driver looks after its connection (hello, ping, endSessions,
	// killCursors, saslStart, saslContinue).
	Command string
	// Collection and App, if not "": only of this collection, and of clients of this appName.
	Collection, App string
	// Skip commands are let through first; then it happens Times times: 0 is once, -1 for ever.
	Skip, Times int
	// Delay comes before everything else.
	Delay time.Duration
	// Close the connection: before the command is applied, or after it, without a reply.
	CloseBefore, CloseAfter bool
	// Code, Name, Message and Labels of the error that is the reply, if Code is not 0. The command
	// is not applied, but with Applied it is.
	Code          int32
	Name, Message string
	Labels        []string
	Applied       bool
	// WriteConcern: the error is told as a writeConcernError, after the command was applied.
	WriteConcern bool
	// Happened, if it is not nil, is called each time, before anything else. It must not call the
	// Server.
	Happened func()

	done int
}

// Fail makes faults happen from now on. The first one that a command meets is the one that
// happens to it.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// Heal takes all faults away.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// DiskFull is the error that MongoDB gives to writes on a full disk.
func DiskFull(command string) Fault {
	return Fault{Command: command, Times: -1, Code: 14031, Name: "OutOfDiskSpace", Message: "available disk space of 100 bytes is less than required minimum of 524288000"}
}

// SetReadOnly makes the server a secondary, or the primary again. Its connections stay, as they
// do at an election.
func (s *Server) SetReadOnly(readOnly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readOnly = readOnly
}

// Forget drops the events that change streams could resume from.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.forgotten = nil, s.clock
	s.wake()
}

// Commands is how many commands of a name the server has been asked for.
func (s *Server) Commands(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

var upkeep = []string{"hello", "isMaster", "ismaster", "ping", "endSessions", "killCursors", "saslStart", "saslContinue", "buildInfo", "buildinfo"}

// fault is what happens to a command, if anything.
func (s *Server) fault(c *conn, cmd *command) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[cmd.name]++
	for i, f := range s.faults {
		if f.Command == "" && slices.Contains(upkeep, cmd.name) || f.Command != "" && f.Command != cmd.name ||
			f.App != "" && f.App != c.app || f.Collection != "" && f.Collection != cmd.collection {
			continue
		}
		if f.done++; f.done <= f.Skip {
			continue
		}
		if f.Times > 0 && f.done >= f.Skip+f.Times {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return f
	}
	return nil
}

func (f *Fault) reply() bson.Raw {
	return errorReply(&failure{code: f.Code, name: f.Name, message: f.Message, labels: f.Labels}, bson.D{})
}
