package validate

import (
	"context"
	"errors"
	"sync"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/definitions"
	"github.com/kiln-health/kiln/fhir/fhirpath"
)

// A correction is what is evaluated in place of an expression that is not what its rule
// says, or that takes more than linear time.
type correction struct{ expression, why string }

// machineName is the expression of the rules about the names of definitions.
const machineName = `name.matches('[A-Z]([A-Za-z0-9_]){0,254}')`

// corrections are by key, followed by the element that bears it where several structures
// use the key, or for rules that are many by expression.
var corrections = map[string]correction{
	machineName: {`name.empty() or name.matches('^[A-Z]([A-Za-z0-9_]){0,254}$')`,
		"the whole name is meant, and matches() looks for a part; no name is no bad name: http://hl7.org/fhir/R5/codesystem-definitions.html#CodeSystem.constraint (cnl-0)"},
	"con-3": {`clinicalStatus.exists() or verificationStatus.coding.where(system='http://terminology.hl7.org/CodeSystem/condition-ver-status' and code = 'entered-in-error').exists() or category.coding.where(system='http://terminology.hl7.org/CodeSystem/condition-category' and code='problem-list-item').empty()`,
		"it compares a CodeableConcept with a code, and select() gives a truth for each: http://hl7.org/fhir/R4/condition-definitions.html#Condition.clinicalStatus"},
	"que-12": {`enableWhen.count() > 1 implies enableBehavior.exists()`,
		"more than one is meant: http://hl7.org/fhir/R4/questionnaire-definitions.html#Questionnaire.item.enableBehavior"},
	"csd-1": {`concept.code.combine(%context.descendants().concept.code).isDistinct()`,
		"the same, as the engine evaluates arguments on the input of their function"},
	"ig-1": {`resource.groupingId.subsetOf(%context.grouping.id)`, "the same in linear time"},
	"ig-2": {`definition.resource.fhirVersion.subsetOf(%context.fhirVersion)`, "the same in linear time"},
	"sdf-8": {`(%resource.kind = 'logical' or element.first().path = %resource.type) and element.tail().all(path.contains('.')) and element.tail().select(path.replaceMatches('\\..*','')).subsetOf(%context.element.first().path)`,
		"the same in linear time"},
	"sdf-8a": {`(%resource.kind = 'logical' or element.first().path.startsWith(%resource.type)) and element.tail().all(path.contains('.')) and element.tail().select(path.replaceMatches('\\..*','')).subsetOf(%context.element.first().select(path.replaceMatches('\\..*','')))`,
		"the same in linear time"},
	"ras-2": {`iif(probability is Range, true, probability.empty() or probability <= 100)`,
		"a decimal that is written without a point is an Integer to the engine"},
	"sdcqr-2": {`$this.combine(%context.descendants()).select(item.where(answer.value.exists()).linkId.isDistinct()).allTrue()`,
		"the engine has no repeat()"},
	"us-core-5": {`vaccineCode.coding.where(system='http://hl7.org/fhir/sid/ndc').exists()`,
		"empty() is the opposite of what it says: http://hl7.org/fhir/us/core/STU6.1/StructureDefinition-us-core-immunization.html"},
	"inv-1 Extension": {`%resource.code.empty()`,
		"the extension has neither of the elements that it names, so that it is never true: http://hl7.org/fhir/R4/extension-allergyintolerance-substanceexposurerisk.html"},
}

// evaluated is the FHIRPath of an invariant that is evaluated.
func evaluated(v *definitions.Invariant) string {
	if len(v.Where) > 0 {
		if c, ok := corrections[v.Key+" "+v.Where[0]]; ok {
			return c.expression
		}
	}
	for _, key := range [...]string{v.Key, v.Expression} {
		if c, ok := corrections[key]; ok {
			return c.expression
		}
	}
	return v.Expression
}

// A formula is an invariant that is not in Go, compiled when it is first needed.
type formula struct {
	*definitions.Invariant
	compile func() (*fhirpath.Expression, error)
}

// byExpression is the rule of an invariant that is not in Go.
func byExpression(v *definitions.Invariant) rule {
	f := &formula{v, sync.OnceValues(func() (*fhirpath.Expression, error) { return fhirpath.Compile(evaluated(v)) })}
	return rule{v, func(w *walker, n int, _ uint64) bool { return w.holds(f, n) }, "make this true: " + evaluated(v)}
}

// An expense is what the expressions of one body have cost, and which were left out for it.
type expense struct {
	bytes   int
	leftOut []*definitions.Invariant
}

const (
	// maxExpense is how many bytes expressions are evaluated on for one body. A value counts
	// for each expression, and for each level that it is nested.
	maxExpense = 64 << 20
	evaluation = 2 << 10 // what an evaluation costs at least, in bytes
)

// holds reports whether the expression of an invariant is true for the value at node n. One
// that gives no answer does not hold. What cannot be checked holds, and is told of.
func (w *walker) holds(f *formula, n int) bool {
	start := int(w.nodes[n].start)
	in := fhirpath.Input{Element: w.body[start:w.skip(start)], Type: w.typeAt(n)}
	if !w.affords(f, len(in.Element), start) {
		return true
	}
	x, err := f.compile()
	if err == nil {
		if x.Uses("resource") || x.Uses("rootResource") {
			in.Resource, in.Root = w.around(n)
			if !w.affords(f, len(in.Resource)+len(in.Root), start) {
				return true
			}
		}
		var truth fhirpath.Truth
		if truth, err = x.Truth(context.Background(), in); err == nil {
			return truth == fhirpath.True
		}
	}
	// Where something is wrong anyway the expression may well have no answer.
	if w.errors == 0 && w.noticed() {
		code := fhir.CodeNotSupported
		if errors.Is(err, fhirpath.ErrTooCostly) {
			code = fhir.CodeTooCostly
		}
		w.tell(fhir.Issue{Severity: fhir.Information, Code: code, Message: f.Key + " could not be checked: its expression gives no answer"}, "", start)
	}
	return true
}

// affords counts an evaluation, and reports whether it may be done. That a rule is left
// out from here on is told once.
func (w *walker) affords(f *formula, bytes, at int) bool {
	if w.expense.bytes += bytes + evaluation; w.expense.bytes <= maxExpense {
		return true
	}
	for _, v := range w.expense.leftOut {
		if v == f.Invariant {
			return false
		}
	}
	w.expense.leftOut = append(w.expense.leftOut, f.Invariant)
	if w.noticed() {
		w.tell(fhir.Issue{Severity: fhir.Information, Code: fhir.CodeTooCostly, Message: f.Key + " was not checked from here on: the body is too large",
			Fix: "send smaller resources, or fewer in a Bundle"}, "", at)
	}
	return false
}

// typeAt is the type of the value at node n as package fhirpath calls it.
func (w *walker) typeAt(n int) string {
	if c := w.classAt(n); c != nil {
		return c.name
	}
	if t := w.plan.slots[w.nodes[n].slot&slotBits].typ; t != nil {
		return t.Code
	}
	return ""
}

// around is the resource that the value at node n is in, and the one that contains that.
func (w *walker) around(n int) (resource, root []byte) {
	at := int(w.nodes[n].start)
	for k := n; k >= 0; k-- {
		s := w.nodes[k].slot
		if s>>classShift&classBits == 0 || s&companion != 0 {
			continue
		}
		start := int(w.nodes[k].start)
		end := w.skip(start)
		if end <= at {
			continue
		}
		if resource == nil {
			resource = w.body[start:end]
		}
		root = w.body[start:end]
		if s&slotBits == rootSlot || w.plan.slots[s&slotBits].name != "contained" {
			break
		}
	}
	return resource, root
}
