// Package layout is how resources lie in MongoDB, and how searches ask for them there. It
// makes documents, filters and lists of indexes, and talks to no server.
//
// # Documents
//
// The current versions of the resources of a type are in a collection with the name of the
// type, the earlier ones in HistoryCollection. A current document is
//
//	_id  id of the resource
//	v    version, int64
//	lu   lastUpdated, a date in milliseconds
//	pt   the one patient that patient and subject refer to: its id. "#" and the own id if there
//	     is none, "*" if there are several. It is in every document, also in a tombstone, and
//	     never an array: what a collection is sharded by
//	d0   where the resource stands in the order by date, "" without one. In every document but
//	     tombstones
//	d1   the end of its date, "~" if that is open, no field without a date
//	l    true if the date is not one short interval: longer than a day, open, or several
//	k    kinds: array of the terms of code, category, component-code and combo-code
//	t    array of the terms of all other tokens, of references and of URIs
//	x    array of terms that nearly every resource has: no index has them
//	s    array of texts, folded. Those of :text are not there for Observations
//	d    array of {k: parameter, l: begin, h: end} of the dates other than date
//	q    array of {k: parameter, l: number} of numbers and quantities, and of {k: parameter<>,
//	     l: least, h: greatest} of ranges; for those in units of UCUM a second one in the base
//	     unit, with k: parameter~kind of the unit
//	o    {a: {parameter: text}, d: {parameter: text}}: sort keys, the least and the greatest of
//	     the values. Observations, of which there are most, do without
//	odd  true if these fields do not tell all there is to know
//	raw  the JSON of the resource, byte for byte
//
// A deleted resource has a tombstone: _id, v, lu, pt and del, true. No search finds it.
//
// A term is text: the name of the parameter, =, and the value. Of a token that is the code, a
// bar and the system, of a reference the id, a bar and the type: what is searched without its
// second half is a range. Behind #url= is a reference by URL and its version, behind
// :identifier= one by identifier. % and the bar are written as %25 and %7C; %! is where a value
// was cut, and a hash of all of it follows. The systems that most codes have are abbreviated,
// see abbreviations; a kind of another system has a second term with %* for it, so that a code
// alone is found by a few terms, in order. The same is done for references of a type that their
// parameter does not name.
//
// Dates are texts of digits in the order of time, UTC: years to nanoseconds, without zeros at
// the end of those. A date of BSON has milliseconds only.
//
// # What is odd
//
// A document is odd if it has patients where one is usual, several values of date, more than
// maxEntries terms or maxBytes of them in one array, or a composite of values that its own
// parameters do not have. Every filter finds odd documents that could match, and
// search.Query.Matches has to be asked about them, see Find.Asks. An array that would be too
// large is replaced by the single text "*", which is among the values that each search for
// terms asks for; where a composite is odd, it is one of the terms.
package layout

import (
	"slices"
	"strings"
	"sync"

	"github.com/kiln-health/kiln/fhir/search"
)

// Version is the version of the layout. Documents of another one are not found by the
// filters of this one.
const Version = 1

// Layout makes documents for one set of search parameters. It may be used by any number of
// goroutines.
type Layout struct {
	parameters *search.Parameters
	also       *search.Parameters // or nil
	types      sync.Map           // of string to *kind
	units      units
}

// New is the layout for a set of parameters; nil are those of R4.
func New(p *search.Parameters) *Layout {
	if p == nil {
		p = search.R4()
	}
	return &Layout{parameters: p, units: units{known: map[string]*unit{}}}
}

// Both is the layout of documents that are found by the terms of two sets of search parameters,
// if they have them. In what order they are is a matter of a alone.
func Both(a, b *search.Parameters) *Layout {
	l := New(a)
	l.also = b
	return l
}

// Parameters are those whose terms the documents have.
func (l *Layout) Parameters() *search.Parameters { return l.parameters }

// kind is what has to be known of a resource type to make its documents.
type kind struct {
	// patients are the parameters that pt stands for, none where several patients are usual.
	patients []string
	// up and down ask for all sort keys that are stored.
	up, down search.Query
	// targets are the types that a parameter names: several lists, where it has several definitions.
	targets map[string][][]string
}

func (l *Layout) kind(resourceType string) *kind {
	if k, ok := l.types.Load(resourceType); ok {
		return k.(*kind)
	}
	k := &kind{targets: map[string][][]string{}}
	if l.also != nil {
		k.refer(resourceType, l.also)
	}
	k.refer(resourceType, l.parameters)
	for _, p := range l.parameters.Of(resourceType) {
		if hasSortKey(resourceType, p.Name, p.Type) && p.Sortable {
			k.up.Sort = append(k.up.Sort, search.Sort{Param: p.Name, Type: p.Type})
			k.down.Sort = append(k.down.Sort, search.Sort{Param: p.Name, Type: p.Type, Descending: true})
		}
	}
	actual, _ := l.types.LoadOrStore(resourceType, k)
	return actual.(*kind)
}

// refer notes where the references of a type may lead.
func (k *kind) refer(resourceType string, by *search.Parameters) {
	for _, p := range by.Of(resourceType) {
		if p.Type != search.ReferenceParam {
			continue
		}
		k.targets[p.Name] = append(k.targets[p.Name], p.Targets)
		if isPatient(resourceType, p.Name) && !slices.Contains(k.patients, p.Name) {
			k.patients = append(k.patients, p.Name)
		}
	}
}

// isPatient reports whether pt tells the patients that a parameter refers to.
func isPatient(resourceType, param string) bool {
	return (param == "patient" || param == "subject") && !slices.Contains(manyPatients, resourceType)
}

// manyPatients are the types in which several patients are nothing special: they are found
// by terms, as everything else that is referred to.
var manyPatients = []string{"Account", "Appointment", "AuditEvent", "Person", "Provenance", "Schedule"}

// hasSortKey reports whether documents of a type have the sort key of a parameter in o.
func hasSortKey(resourceType, param string, of search.ParamType) bool {
	switch {
	case resourceType == "Observation", param == "_id", param == "_lastUpdated":
		return false
	case param == "date" && of == search.DateParam:
		return false // d0
	}
	return true
}

// hasDate reports whether most resources of a type are asked for by date.
func hasDate(resourceType string) bool {
	p, ok := search.R4().Lookup(resourceType, "date")
	return ok && p.Type == search.DateParam
}

// isKind reports whether terms of a parameter are in k, and else in t.
func isKind(param string) bool {
	switch param {
	case "code", "category", "component-code", "combo-code":
		return true
	}
	return false
}

// usual reports whether nearly all resources of a type have a token. An index of it would
// lead nowhere that the order by date does not lead as well.
func usual(resourceType, param, code string) bool {
	return resourceType == "Observation" && param == "status" && code == "final"
}

// unindexed are URIs that are mostly the same in all resources.
func unindexed(param string) bool { return param == "_profile" || param == "_source" }

// untold reports whether texts of a parameter are in no document: what the codes of an
// Observation are called is mostly what the codes say, and would be a tenth of all documents.
func untold(resourceType, param string) bool {
	return resourceType == "Observation" && strings.HasSuffix(param, ":text")
}

// parts are the parameters that make up another one: a value of theirs is kept once, and
// who looks for it looks under all. The definitions of R4 say so, and custom parameters
// cannot have these names.
func parts(resourceType, param string) []string {
	if resourceType != "Observation" {
		return nil
	}
	switch param {
	case "combo-code":
		return []string{"code", "component-code"}
	case "combo-value-quantity":
		return []string{"value-quantity", "component-value-quantity"}
	case "combo-value-concept":
		return []string{"value-concept", "component-value-concept"}
	}
	return nil
}

// names are all names under which values of a parameter may be.
func names(resourceType, param string) []string {
	return append([]string{param}, parts(resourceType, param)...)
}
