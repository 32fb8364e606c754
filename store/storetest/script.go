package storetest

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/store"
)

//go:embed testdata/*.script
var scripts embed.FS

// testScripts runs testdata/*.script. A line is a comment (#) or one of
//
//	put Type/id {JSON of a resource}     which may go on in indented lines
//	delete Type/id
//	read Type/id -> version 2            or: gone 2, not found
//	search Type?parameters -> id id      in this order, for pages of any size
//	total Type?parameters -> 2
//
// A search or a total of Compartment/id/Type?parameters is in a compartment.
func testScripts(t *testing.T, open func(t *testing.T) store.Store) {
	files, err := fs.Glob(scripts, "testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(scripts, file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".script")
		t.Run(name, func(t *testing.T) {
			s := opened(t, open)
			for _, c := range commands(string(text)) {
				if err := c.run(t, s); err != nil {
					t.Errorf("%s:%d: %s: %v", file, c.line, c.verb, err)
				}
			}
		})
	}
}

// command is a line of a script: verb what -> want, or verb what body.
type command struct {
	line             int
	verb, what, rest string
}

func commands(script string) []command {
	var all []command
	for i, line := range strings.Split(script, "\n") {
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			all[len(all)-1].rest += " " + strings.TrimSpace(line)
		default:
			verb, rest, _ := strings.Cut(line, " ")
			what, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
			all = append(all, command{i + 1, verb, what, strings.TrimSpace(rest)})
		}
	}
	return all
}

func (c command) run(t *testing.T, s store.Store) error {
	of, id, _ := strings.Cut(c.what, "/")
	want, expects := strings.CutPrefix(c.rest, "->")
	want = strings.TrimSpace(want)
	if expects == (c.verb == "put" || c.verb == "delete") {
		return fmt.Errorf("want verb, what and -> result, or put, what and JSON")
	}
	switch c.verb {
	case "put":
		_, _, compact, err := fhir.Parse([]byte(c.rest))
		if err != nil {
			return err
		}
		_, err = s.Write(context.Background(), store.Change{Key: key(of, id), JSON: compact})
		return err
	case "delete":
		_, err := s.Write(context.Background(), store.Change{Key: key(of, id), Delete: true})
		return err
	case "read":
		return expect(read(s, key(of, id)), want)
	case "total":
		q, err := c.query(t)
		if err != nil {
			return err
		}
		q.Count, q.Total = 0, search.TotalAccurate
		page, err := s.Search(context.Background(), q)
		if err != nil {
			return err
		}
		return expect(fmt.Sprint(page.Total), want)
	case "search":
		for _, count := range []int{50, 1, 2, 3} {
			q, err := c.query(t)
			if err != nil {
				return err
			}
			q.Count = count
			ids, err := walk(context.Background(), s, q)
			if err != nil {
				return err
			}
			if err := expect(strings.Join(ids, " "), want); err != nil {
				return fmt.Errorf("%s: pages of %d: %w", c.what, count, err)
			}
		}
		return nil
	}
	return errors.New("no such verb")
}

// query is what a command searches for.
func (c command) query(t *testing.T) (search.Query, error) {
	path, parameters, _ := strings.Cut(c.what, "?")
	parts := strings.Split(path, "/")
	of := parts[len(parts)-1]
	q := parse(t, of+"?"+parameters)
	switch len(parts) {
	case 1:
		return q, nil
	case 3:
		clause, ok := search.R4().InCompartment(of, parts[0], parts[1])
		if !ok {
			return q, fmt.Errorf("a %s is in no compartment of a %s", of, parts[0])
		}
		q.Where = append(q.Where, clause)
		return q, nil
	}
	return q, errors.New("want Type?parameters or Compartment/id/Type?parameters")
}

func expect(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func read(s store.Store, k fhir.Key) string {
	r, err := s.Read(context.Background(), k)
	if e, ok := errors.AsType[*store.GoneError](err); ok {
		return "gone " + e.Resource.Version
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "not found"
	case err != nil:
		return err.Error()
	}
	return "version " + r.Version
}
