package validate

import (
	"iter"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
)

// A step is one on the way from the resource to the value at hand.
type step struct {
	slot  int32
	index int32
}

// refused counts an error, and reports whether there is room to tell about it: texts are
// made for what is told only. Where there is none, a warning makes room.
func (w *walker) refused() bool {
	if w.trial > 0 {
		w.failed = true
		return false
	}
	w.errors++
	if w.room() {
		return true
	}
	w.dropped++
	for i := len(w.found) - 1; i >= 0 && w.hints > 0; i-- {
		if s := w.found[i].Severity; s == fhir.Warning || s == fhir.Information {
			w.told -= w.found[i].length()
			w.found = append(w.found[:i], w.found[i+1:]...)
			w.hints--
			return true
		}
	}
	return false
}

// doubted counts a warning, and reports whether there is room to tell about it.
func (w *walker) doubted() bool {
	if w.trial > 0 {
		return false
	}
	w.warnings++
	if !w.room() {
		w.dropped++
		return false
	}
	w.hints++
	return true
}

// noticed reports whether there is room to tell something that is neither error nor warning.
func (w *walker) noticed() bool {
	if w.trial > 0 {
		return false
	}
	if !w.room() {
		w.dropped++
		return false
	}
	w.hints++
	return true
}

func (w *walker) room() bool {
	most := w.opt.MaxIssues
	if most <= 0 {
		most = maxIssues
	}
	return len(w.found) < most && w.told < maxText
}

// length is how much text an issue is.
func (f *Found) length() int { return len(f.Path) + len(f.Message) + len(f.Fix) + len(f.Spec) }

// tell keeps an issue about the value at hand, or about one of its elements.
func (w *walker) tell(i fhir.Issue, element string, at int) {
	i.Path = w.path(element)
	if i.Spec == "" {
		i.Spec = w.spec()
	}
	for _, f := range w.found {
		if f.Offset == at && f.Message == i.Message && f.Path == i.Path && f.Spec == i.Spec {
			w.retract(i.Severity)
			return
		}
	}
	w.found = append(w.found, Found{Issue: i, Offset: at})
	w.told += w.found[len(w.found)-1].length()
}

// retract takes back what was counted for an issue that has been told before: an element
// and a slice of it may demand the same.
func (w *walker) retract(s fhir.Severity) {
	switch s {
	case fhir.SevError:
		w.errors--
	case fhir.Warning:
		w.warnings--
		w.hints--
	default:
		w.hints--
	}
}

// errorAt is an error about the value at hand, or about one of its elements.
func (w *walker) errorAt(code, element string, at int, message, fix string) {
	w.tell(fhir.Issue{Severity: fhir.SevError, Code: code, Message: message, Fix: fix}, element, at)
}

// errorIn is an error about the object at hand, which is of class c, or one of its elements.
func (w *walker) errorIn(c *class, code, element string, at int, message, fix string) {
	w.tell(fhir.Issue{Severity: fhir.SevError, Code: code, Message: message, Fix: fix, Spec: c.spec}, element, at)
}

// warningAt is errorAt for a warning.
func (w *walker) warningAt(code, element string, at int, message, fix string) {
	w.tell(fhir.Issue{Severity: fhir.Warning, Code: code, Message: message, Fix: fix}, element, at)
}

// spec is the URL of the structure that rules here: the profile at work, or the type whose
// element is at hand.
func (w *walker) spec() string {
	if w.profile != nil {
		return w.profile.url
	}
	if w.depth > 0 {
		return w.plan.slots[w.steps[w.depth-1].slot].owner.spec
	}
	if w.of != nil {
		return w.of.spec
	}
	return specJSON
}

// path is the FHIRPath of the value at hand, or of one of its elements, in the form that
// an OperationOutcome has: names and indexes.
// http://hl7.org/fhir/R4/operationoutcome-definitions.html#OperationOutcome.issue.expression
func (w *walker) path(element string) string {
	var b strings.Builder
	if w.of != nil {
		b.WriteString(w.of.name)
	}
	for _, s := range w.steps[:w.depth] {
		of := &w.plan.slots[s.slot]
		b.WriteString("." + of.name)
		if of.list {
			b.WriteString("[" + number(int(s.index)) + "]")
		}
	}
	if element != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(element)
	}
	return b.String()
}

func number(n int) string { return strconv.Itoa(n) }

// memberName is the name of a member that a definition does not have, if it looks like one. An
// element that is misspelt should be told by its name; no other text of a body is repeated.
func memberName(s []byte) string {
	if isIdentifier(s) {
		return `"` + string(s) + `"`
	}
	return "a name"
}

func isIdentifier(s []byte) bool { return looksLike(s, 64, "_-") }

// readable is a code that is in no definition and stands where only one of a list may, if it
// looks like one.
func readable(s []byte) string {
	if looksLike(s, 40, "._-") {
		return `"` + string(s) + `"`
	}
	return "a text"
}

// looksLike reports whether s is 1 to most of the letters and digits of ASCII, and of others.
func looksLike(s []byte, most int, others string) bool {
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(others, c) >= 0:
		default:
			return false
		}
	}
	return len(s) > 0 && len(s) <= most
}

// nearest is the name that is most like another one, or "" if none is.
func nearest(name string, all func(yield func(string) bool)) string {
	best, least := "", len(name)/3+2
	for candidate := range all {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate), least); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is how many letters must be added, left out, replaced or swapped with the next
// one to make b of a. Beyond limit it is just limit.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before, last, row [65]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}

// breach tells that an invariant does not hold for the value at hand.
func (w *walker) breach(r *rule, at int) {
	severity := fhir.SevError
	if r.Warning {
		severity = fhir.Warning
		if !w.doubted() {
			return
		}
	} else if !w.refused() {
		return
	}
	spec := r.Source
	if _, ok := definitions.Lookup(spec); !ok {
		spec = ""
	}
	if w.profile != nil {
		spec = w.profile.url
	}
	w.tell(fhir.Issue{Severity: severity, Code: fhir.CodeInvariant, Message: r.Key + ": " + strings.TrimSuffix(r.Human, "."), Fix: r.fix, Spec: spec}, "", at)
}

func written(k kind) string {
	switch k {
	case objectKind, resourceKind:
		return "a JSON object"
	case booleanKind:
		return "true or false"
	case decimalKind, integerKind, positiveIntKind, unsignedIntKind:
		return "a JSON number"
	}
	return "a JSON string"
}

func looks(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func article(name string) string {
	if strings.IndexByte("AEIOUaeio", name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}

func each(names []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, n := range names {
			if !yield(n) {
				return
			}
		}
	}
}
