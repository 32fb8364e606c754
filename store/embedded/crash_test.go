package embedded

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

// The test binary is also the process that is killed: it is then told what to do, and where.
const childVariable = "KILN_TEST_CHILD"

func TestMain(m *testing.M) {
	what, dir, ok := strings.Cut(os.Getenv(childVariable), " ")
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	var err error
	switch what {
	case "crash":
		err = writeUntilKilled(dir)
	case "fault-manifest":
		err = faultyManifest(dir)
	case "fault-log":
		err = faultyLog(dir, 1000)
	case "fault-rotation":
		err = faultyLog(dir, 20000)
	}
	fmt.Fprintln(os.Stderr, what, "ended:", err)
	os.Exit(1)
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childVariable+"="+what+" "+dir)
	return c
}

// perWrite is how many resources the child writes together. They have one patient and one
// value, both the number of the write.
const perWrite = 3

func together(writer, n int) []store.Change {
	var changes []store.Change
	for i := range perWrite {
		changes = append(changes, store.Change{
			Key: fhir.Key{Type: "Observation", ID: fmt.Sprintf("w%d-%d-%d", writer, n/3, i)},
			JSON: fmt.Appendf(nil, `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},`+
				`"subject":{"reference":"Patient/w%d-%d"},"effectiveDateTime":"2026-01-01T%02d:%02d:%02dZ","valueQuantity":{"value":%d}}`,
				writer, n, n/3600%24, n/60%60, n%60, n),
		})
	}
	return changes
}

// writeUntilKilled writes with 64 goroutines, each resource in three versions, and says
// on standard output what was acknowledged.
func writeUntilKilled(dir string) error {
	s, err := Open(dir, nil)
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(os.Getenv("KILN_TEST_FIRST"))
	if err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex
	for w := range 64 {
		go func() {
			for n := first; ; n++ {
				results, err := s.Write(context.Background(), together(w, n)...)
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(w, n, results[0].Version)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

func TestKill(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	if n, err := strconv.Atoi(os.Getenv("KILN_CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	var all []map[int]int // by round and writer, the last write that was acknowledged
	for round := range rounds {
		first := round * 999_999 // a multiple of the versions of a resource
		all = append(all, kill(t, dir, first))
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := verify(s); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		for r, acknowledged := range all {
			if r < round && round < rounds-1 {
				continue // what was there after the crash before is looked at again in the end
			}
			total := 0
			for w, n := range acknowledged {
				total += n - r*999_999 + 1
				checkWriter(t, s, w, r*999_999, n)
			}
			if r == round {
				t.Logf("round %d: %d writes of %d resources were acknowledged before the kill", round, total, perWrite)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// kill starts a child, kills it at some moment, and returns the last write that each of
// its goroutines had acknowledged.
func kill(t *testing.T, dir string, first int) map[int]int {
	t.Helper()
	c := child(t, "crash", dir)
	c.Env = append(c.Env, "KILN_TEST_FIRST="+strconv.Itoa(first))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]int{}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		if timer == nil {
			timer = time.AfterFunc(time.Duration(100+rand.IntN(600))*time.Millisecond, func() { c.Process.Kill() })
			defer timer.Stop()
		}
		var w, n int
		var version string
		if _, err := fmt.Sscan(lines.Text(), &w, &n, &version); err != nil {
			continue // the last line may be cut
		}
		acknowledged[w] = n
	}
	if err := c.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if len(acknowledged) == 0 {
		t.Fatal("the child acknowledged nothing")
	}
	return acknowledged
}

// checkWriter checks that all writes of a goroutine up to n are there, and perhaps the next, all or nothing.
func checkWriter(t *testing.T, s *Store, w, first, n int) {
	t.Helper()
	for group := first / 3; group <= n/3; group++ {
		var versions, patients []string
		for i := range perWrite {
			r, err := s.Read(t.Context(), fhir.Key{Type: "Observation", ID: fmt.Sprintf("w%d-%d-%d", w, group, i)})
			if err != nil {
				t.Errorf("writer %d, write %d was acknowledged: %v", w, min(n, group*3+2), err)
				return
			}
			versions = append(versions, r.Version)
			_, rest, _ := strings.Cut(string(r.JSON), `"Patient/`)
			patient, _, _ := strings.Cut(rest, `"`)
			patients = append(patients, patient)
		}
		if versions[0] != versions[1] || versions[1] != versions[2] || patients[0] != patients[1] || patients[1] != patients[2] {
			t.Errorf("writer %d, group %d: written together, but at versions %v of %v", w, group, versions, patients)
		}
		if least := min(n, group*3+2) - group*3 + 1; versions[0] < strconv.Itoa(least) {
			t.Errorf("writer %d, group %d is at version %s, but %d was acknowledged", w, group, versions[0], least)
		}
		if group%50 == 0 {
			param, _ := search.R4().Lookup("Observation", "patient")
			q := allObservations()
			q.Where = []search.Clause{{Param: param, Values: []search.Value{{RefType: "Patient", RefID: patients[0]}}}}
			if page, err := s.Search(t.Context(), q); err != nil || len(page.Resources) != perWrite || page.Total != perWrite {
				t.Errorf("writer %d, group %d: the search finds %d of %d, %v", w, group, len(page.Resources), page.Total, err)
			}
		}
	}
}
