package search

import (
	"slices"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// include reads _include and _revinclude: Source:param, Source:param:Target, Source:* and,
// of what is searched, * alone. http://hl7.org/fhir/R4/search.html#include
func (p *parser) include(name, value string) {
	base, modifier, modified := strings.Cut(name, ":")
	if modified && modifier != "iterate" {
		p.refuse(fhir.Errorf(fhir.CodeNotSupported, base, "%s has no such modifier", base).
			WithFix("use " + base + " without a modifier or with :iterate").WithSpec(specSearch + "#include"))
		return
	}
	if value == "" {
		return
	}
	i, why := p.included(Include{Reverse: base == "_revinclude", Iterate: modified}, value)
	if why != "" {
		p.refuse(fhir.Errorf(fhir.CodeValue, base, "%s %s", base, why).
			WithFix("send Source:parameter or Source:parameter:Target, of a reference parameter of the source, as in Observation:subject:Patient").
			WithSpec(specSearch + "#include"))
		return
	}
	if slices.Contains(p.q.Include, i) {
		return
	}
	if len(p.q.Include) == MaxIncludes {
		p.refuse(fhir.Errorf(fhir.CodeTooCostly, base, "the query asks for more than %d kinds of resources to be included", MaxIncludes))
		return
	}
	p.q.Include = append(p.q.Include, i)
}

// included completes i with the value, or says why it cannot.
func (p *parser) included(i Include, value string) (_ Include, why string) {
	part := strings.Split(value, ":")
	if value == "*" && !i.Reverse {
		part = []string{p.q.Type, "*"}
	}
	if len(part) < 2 || len(part) > 3 {
		return i, "has another form"
	}
	i.Source, i.Param = part[0], part[1]
	if _, ok := p.of.lookup(i.Source, "_id"); !ok {
		return i, "names a source that is no resource type"
	}
	var r *row
	if i.Param != "*" {
		var ok bool
		if r, ok = p.of.lookup(i.Source, i.Param); !ok || r.Type != ReferenceParam {
			return i, "names no reference parameter of its source"
		}
	}
	if len(part) == 3 {
		i.Target = part[2]
		if _, ok := p.of.lookup(i.Target, "_id"); !ok {
			return i, "names a target that is no resource type"
		}
		if r != nil && !r.mayReferTo(i.Target) {
			return i, "names a target that the parameter cannot refer to"
		}
	}
	switch {
	case i.Iterate: // it may be about what was included
	case !i.Reverse && i.Source != p.q.Type:
		return i, "names a source that is not searched for, which :iterate would do"
	case i.Reverse && (i.Target != "" && i.Target != p.q.Type || r != nil && !r.mayReferTo(p.q.Type)):
		return i, "names a parameter or a target that does not lead to what is searched for"
	}
	return i, ""
}

func (r *row) mayReferTo(resourceType string) bool {
	return r.Targets == nil || slices.Contains(r.Targets, resourceType)
}

// encode is the parameter that i was read from.
func (i Include) encode() (name, value string) {
	name = "_include"
	if i.Reverse {
		name = "_revinclude"
	}
	if i.Iterate {
		name += ":iterate"
	}
	value = i.Source + ":" + i.Param
	if i.Target != "" {
		value += ":" + i.Target
	}
	return name, value
}
