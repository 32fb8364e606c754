// Package validate says whether a resource is valid FHIR R4: its JSON, the elements and
// their number, the form of every primitive, codes, references, contained resources,
// Bundles, invariants, and the profiles that it claims or is asked to meet.
//
// One pass of jsontext makes sure that the body is strict JSON. One walk over the bytes
// then checks it against the tables of package definitions, and notes where each value
// is; invariants and profiles work on these notes. A resource without faults costs no
// allocation but for those of its size: the notes come from a pool. Time and memory grow
// with the length of the body, whatever is in it.
//
// Issues may be logged and sent to others, so they repeat what the definitions say, and next
// to nothing of the body: the names of elements and resource types, and codes and URLs, as
// far as they are from the definitions; the name of a member that is not defined, if it looks
// like an identifier; and a code that is not defined where it must be one of a list, if it
// looks like a code. No other value is ever in an issue, nor a part of it.
//
// http://hl7.org/fhir/R4/validation.html
package validate

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
)

// Level is how much is checked.
type Level uint8

// The levels, the most thorough first.
const (
	Profiles   Level = iota // and the profiles that resources claim and extensions that are known
	Invariants              // and invariants, and the codes of coded objects
	Structure               // JSON, elements, primitives, codes, references, contained resources
)

// Recommended says whether to report what is only recommended.
type Recommended uint8

// Whether a resource without a narrative, which R4 recommends (dom-6), is worth a warning.
const (
	Quiet Recommended = iota
	Tell
)

// Options say what is checked. The zero value checks everything and allows any resource.
type Options struct {
	Level Level
	Type  string // the resource type that is expected, "" is any
	// Profiles are canonical URLs of profiles that the body must meet, whether it claims
	// them or not. They are checked at the level of that name only.
	Profiles    []string
	Recommended Recommended
	// MustSupport asks for an issue of severity information for each element that a
	// profile marks mustSupport and that is not there.
	MustSupport bool
	// MaxIssues is how many issues are kept; those beyond are counted. 0 is 100.
	MaxIssues int
	// DeviceRules says how much findings of device rules count. They are held at the levels
	// that check invariants.
	DeviceRules Findings
	// Without are the ids of device rules that are not held; what is no id has no effect.
	Without []string
	// Elements, if set, is called for the values of a body without errors, in its order: the
	// depth, 0 for members of the resource, the name in JSON, and where the value begins. An
	// array is not told of, but each of its items. What is in a value is told of if inside.
	// There are no calls for nulls and for what is beside a primitive, as in _status. So who
	// takes search terms from a resource need not read it again.
	Elements func(depth int, name string, start int) (inside bool)
}

var everything = &Options{}

// Found is an issue and where in the body it is.
type Found struct {
	fhir.Issue
	Offset       int    // in bytes
	Line, Column int    // from 1; the column in bytes
	Rule         string // the id of the device rule that was broken, "" if it was none
}

// Span is a part of the body, [Start, End). Both are 0 if there is none.
type Span struct{ Start, End int }

// Result is what Resource found.
type Result struct {
	Type     string  // the resource type, "" if it is not one of R4
	Found    []Found // in the order of the body
	Errors   int     // how many issues have the severity error or fatal, kept or not
	Warnings int
	Dropped  int  // issues that were found and are not kept
	ID, Meta Span // the values of id and meta of the resource, for who wants to change them
}

// Valid reports whether there are no errors.
func (r *Result) Valid() bool { return r.Errors == 0 }

// Issues are the issues alone, with one more that says how many were not kept.
func (r *Result) Issues() []fhir.Issue {
	all := make([]fhir.Issue, 0, len(r.Found)+1)
	for _, f := range r.Found {
		all = append(all, f.Issue)
	}
	if r.Dropped > 0 {
		all = append(all, fhir.Issue{Severity: fhir.Information, Code: fhir.CodeTooCostly, Message: number(r.Dropped) + " more issues were found"})
	}
	return all
}

const (
	maxIssues = 100
	maxText   = 48 << 10 // bytes of all issues together
	maxBody   = 1 << 30
	specJSON  = "http://hl7.org/fhir/R4/json.html"
)

// Resource validates the JSON of one resource. Nil options are the zero ones. The body is
// not changed and not kept. It may be called from any number of goroutines.
func Resource(body []byte, opt *Options) Result {
	if opt == nil {
		opt = everything
	}
	w := walkers.Get().(*walker)
	w.begin(body, opt)
	if w.json() {
		w.root()
	}
	if opt.Elements != nil && w.errors == 0 && !w.blind {
		w.elements(opt.Elements)
	}
	r := w.end()
	if w.small() {
		walkers.Put(w)
	}
	return r
}

// maxKept is how many nodes, and as many bytes of text, a walker may bring back to the
// pool: those of a Bundle of some thousand resources.
const maxKept = 1 << 18

func (w *walker) small() bool {
	return cap(w.nodes) <= maxKept && cap(w.unquoted[0])+cap(w.unquoted[1]) <= maxKept &&
		cap(w.items)+cap(w.table) <= maxKept
}

var walkers = sync.Pool{New: func() any { return &walker{plan: compiled()} }}

// json makes sure that the body is one JSON value. What is said of it later can rely on that.
func (w *walker) json() bool {
	if len(w.body) > maxBody {
		w.fatal(0, fhir.CodeTooLong, "the body is longer than "+number(maxBody)+" bytes", "")
		return false
	}
	// Names that occur twice are found by the walk, which can say where.
	if jsontext.Value(w.body).IsValid(jsontext.AllowDuplicateNames(true)) {
		w.space()
		if w.body[w.pos] == '{' {
			return true
		}
		w.fatal(w.pos, fhir.CodeStructure, "the body is no JSON object", "send one FHIR resource as a JSON object")
		return false
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(w.body), jsontext.AllowDuplicateNames(true))
	_, err := d.ReadValue()
	if err == nil {
		w.fatal(int(d.InputOffset()), fhir.CodeStructure, "something follows the resource", "send one resource only")
		return false
	}
	at, why := len(w.body), "the JSON ends too early"
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok && !errors.Is(err, io.ErrUnexpectedEOF) {
		at, why = min(int(e.ByteOffset), len(w.body)), "not valid JSON: "+unquoted(e.Err.Error())
	}
	w.fatal(at, fhir.CodeStructure, why, "")
	return false
}

// unquoted is a message without what it quotes of the body.
func unquoted(message string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(message, "'\"`")
		if i < 0 || b.Len() > 100 {
			return b.String() + message
		}
		b.WriteString(strings.TrimRight(message[:i], " "))
		quoted, err := strconv.QuotedPrefix(message[i:])
		if err != nil {
			return b.String()
		}
		message = message[i+len(quoted):]
	}
}

func (w *walker) fatal(at int, code, message, fix string) {
	w.errors++
	w.found = append(w.found, Found{Issue: fhir.Issue{Severity: fhir.Fatal, Code: code, Message: message, Fix: fix, Spec: specJSON}, Offset: at})
}

// end puts the issues in order and says where they are.
func (w *walker) end() Result {
	r := Result{Found: w.found, Errors: w.errors, Warnings: w.warnings, Dropped: w.dropped, ID: w.id, Meta: w.meta}
	if w.of != nil {
		r.Type = w.of.name
	}
	slices.SortStableFunc(r.Found, func(a, b Found) int { return a.Offset - b.Offset })
	line, start, at := 1, 0, 0
	for i := range r.Found {
		f := &r.Found[i]
		for ; at < f.Offset; at++ {
			if w.body[at] == '\n' {
				line, start = line+1, at+1
			}
		}
		f.Line, f.Column = line, f.Offset-start+1
	}
	w.body, w.found, w.opt = nil, nil, nil
	return r
}
