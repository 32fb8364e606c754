package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store"
	"github.com/kiln-health/kiln/store/mongo/mongotest"
)

// state tells versions of some Devices as another server finds them, "-" for none and "x" for a
// deleted one, and checks that reads, search and history agree.
func state(t *testing.T, s store.Store, ids ...string) string {
	t.Helper()
	text := ""
	for _, id := range ids {
		key := fhir.Key{Type: "Device", ID: id}
		r, err := s.Read(t.Context(), key)
		switch {
		case err == nil:
			text += r.Version
		case isGone(err):
			text += "x"
		default:
			text += "-"
		}
		page, searchErr := s.Search(t.Context(), query(t, "Device?_id="+id))
		if searchErr != nil || (len(page.Resources) == 1) != (err == nil) || err == nil && page.Resources[0].Version != r.Version {
			t.Errorf("%s: a read says %v, a search %v %v", id, err, page.Resources, searchErr)
		}
		history, historyErr := s.History(t.Context(), store.HistoryQuery{Type: "Device", ID: id})
		want := 0
		for i, h := range history.Resources {
			if want = len(history.Resources) - i; h.Version != fmt.Sprint(want) {
				t.Errorf("%s: the history has version %s at place %d", id, h.Version, i)
			}
		}
		if err == nil && (historyErr != nil || len(history.Resources) == 0 || history.Resources[0].Version != r.Version) {
			t.Errorf("%s: the history has %d versions, %v; the current one is %s", id, len(history.Resources), historyErr, r.Version)
		}
	}
	return text
}

func isGone(err error) bool {
	var gone *store.GoneError
	return errors.As(err, &gone)
}

// A server loses its connection for good before or after any of the commands that a write of
// several changes is made of: the next server finds all of it or nothing, and all of it if it
// was acknowledged.
func TestAWriteThatIsCutOffAnywhereIsDoneAsAWholeOrNotAtAll(t *testing.T) {
	for name, o := range modes {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				outcomes := map[string]int{}
				for n := 0; ; n++ {
					if n == 100 {
						t.Fatal("a write of three changes has more than 100 commands")
					}
					acknowledged, found := cutOff(t, o, n, applied)
					outcomes[found]++
					if found != "11-" && found != "2x1" || acknowledged && found != "2x1" {
						t.Errorf("cut off at command %d: acknowledged %v, found %s", n, acknowledged, found)
					}
					if acknowledged {
						break
					}
				}
				if outcomes["11-"] == 0 || outcomes["2x1"] == 0 {
					t.Errorf("got %v", outcomes)
				}
			})
		}
	}
}

// cutOff changes one Device, deletes another and makes a third, loses the connection at command
// n, and tells what another server finds.
func cutOff(t *testing.T, o mongotest.Options, n int, applied bool) (acknowledged bool, found string) {
	server := mongotest.StartServer(t, o)
	defer server.Close()
	first := openStore(t, uriOf(server, "kiln", "first"))
	if _, err := first.Write(t.Context(), device("a", "1"), device("b", "1")); err != nil {
		t.Fatal(err)
	}
	server.Fail(mongotest.Fault{App: "first", Skip: n, Times: -1, CloseBefore: !applied, CloseAfter: applied})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	gone := device("b", "")
	gone.Delete, gone.JSON = true, nil
	_, err := first.Write(ctx, device("a", "2"), gone, device("c", "1"))
	defer func() { // it goes on in vain, until it may again
		server.Heal()
		_ = first.Close()
	}()
	second := openStore(t, uriOf(server, "kiln", "second"))
	defer second.Close()
	return err == nil, state(t, second, "a", "b", "c")
}

// What was acknowledged stays when MongoDB fails in the ways it does, and what was not is done as
// a whole or not at all; the error is one that says why.
func TestFailuresOfMongoDBAreToldAndNothingIsHalfDone(t *testing.T) {
	for name, o := range modes {
		for what, f := range map[string]mongotest.Fault{
			"disk full":         mongotest.DiskFull("insert"),
			"update refused":    mongotest.DiskFull("update"),
			"shutdown":          {Command: "update", Times: 3, Code: 91, Name: "ShutdownInProgress", Message: "The server is in quiesce mode and will shut down"},
			"write concern":     {Command: "insert", Times: 1, Code: 64, Name: "WriteConcernTimeout", Message: "waiting for replication timed out", WriteConcern: true},
			"reply lost":        {Command: "insert", Times: 1, CloseAfter: true},
			"reply lost, later": {Command: "update", Times: 1, CloseAfter: true},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				server := mongotest.StartServer(t, o)
				s := closed(t, openStore(t, uriOf(server, "kiln", "server")))
				if _, err := s.Write(t.Context(), device("a", "1"), device("b", "1")); err != nil {
					t.Fatal(err)
				}
				server.Fail(f)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				gone := device("b", "")
				gone.Delete, gone.JSON = true, nil
				_, err := s.Write(ctx, device("a", "2"), gone, device("c", "1"))
				server.Heal()
				other := closed(t, openStore(t, uriOf(server, "kiln", "other")))
				if found := state(t, other, "a", "b", "c"); found != "11-" && found != "2x1" || err == nil && found != "2x1" {
					t.Errorf("found %s behind %v", found, err)
				}
				if f.Times < 0 && err == nil {
					t.Error("it was acknowledged")
				}
			})
		}
	}
}
