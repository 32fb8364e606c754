package search

import (
	"slices"
	"strings"
)

// source is a place in a resource where values of a parameter are found.
type source struct {
	path string // elements from the resource on, joined by dots; arrays are not marked
	kind kind
	only string // a reference counts only if it points at this type
}

// kind is how the values of a source are read.
type kind int

const (
	concept     kind = iota // CodeableConcept
	coding                  // Coding
	identifier              // Identifier
	code                    // code, with an implicit system
	boolean                 // boolean
	reference               // Reference
	dateTime                // date and dateTime
	instant                 // instant
	period                  // Period
	timing                  // Timing
	quantity                // Quantity
	sampledData             // SampledData
)

// row is a parameter of a type and where its values come from.
type row struct {
	Param
	sources []source
	// system is the implicit system of a code: a search may name it, the resource does not.
	// http://hl7.org/fhir/R4/search.html#token
	system string
}

// table has the rows of all types, _id and _lastUpdated apart: those are not read from
// the JSON but from the key and the time that the store gave. A new parameter, or a new
// type, is a new row.
var table = map[string][]row{
	"Observation": {
		tokens("category", "Observation-category", "Observation.category", source{path: "category", kind: concept}),
		tokens("code", "clinical-code", "Observation.code", source{path: "code", kind: concept}),
		tokens("combo-code", "Observation-combo-code", "Observation.code | Observation.component.code",
			source{path: "code", kind: concept}, source{path: "component.code", kind: concept}),
		quantities("combo-value-quantity", "Observation-combo-value-quantity",
			"(Observation.value as Quantity) | (Observation.value as SampledData) | (Observation.component.value as Quantity) | (Observation.component.value as SampledData)",
			source{path: "valueQuantity", kind: quantity}, source{path: "valueSampledData", kind: sampledData},
			source{path: "component.valueQuantity", kind: quantity}, source{path: "component.valueSampledData", kind: sampledData}),
		tokens("component-code", "Observation-component-code", "Observation.component.code", source{path: "component.code", kind: concept}),
		quantities("component-value-quantity", "Observation-component-value-quantity",
			"(Observation.component.value as Quantity) | (Observation.component.value as SampledData)",
			source{path: "component.valueQuantity", kind: quantity}, source{path: "component.valueSampledData", kind: sampledData}),
		sortable(dates("date", "clinical-date", "Observation.effective",
			source{path: "effectiveDateTime", kind: dateTime}, source{path: "effectivePeriod", kind: period},
			source{path: "effectiveInstant", kind: instant}, source{path: "effectiveTiming", kind: timing})),
		references("device", "Observation-device", "Observation.device", []string{"Device", "DeviceMetric"}, source{path: "device"}),
		identifiers("identifier", "clinical-identifier", "Observation.identifier", source{path: "identifier"}),
		references("patient", "clinical-patient", "Observation.subject.where(resolve() is Patient)", []string{"Patient"},
			source{path: "subject", only: "Patient"}),
		codes("status", "Observation-status", "Observation.status", "http://hl7.org/fhir/observation-status", source{path: "status"}),
		references("subject", "Observation-subject", "Observation.subject", []string{"Device", "Group", "Location", "Patient"}, source{path: "subject"}),
		tokens("value-concept", "Observation-value-concept", "(Observation.value as CodeableConcept)", source{path: "valueCodeableConcept", kind: concept}),
		quantities("value-quantity", "Observation-value-quantity", "(Observation.value as Quantity) | (Observation.value as SampledData)",
			source{path: "valueQuantity", kind: quantity}, source{path: "valueSampledData", kind: sampledData}),
	},
	"Device": {
		identifiers("identifier", "Device-identifier", "Device.identifier", source{path: "identifier"}),
		references("patient", "Device-patient", "Device.patient", []string{"Patient"}, source{path: "patient"}),
		codes("status", "Device-status", "Device.status", "http://hl7.org/fhir/device-status", source{path: "status"}),
		tokens("type", "Device-type", "Device.type", source{path: "type", kind: concept}),
	},
	"Patient": {
		booleans("active", "Patient-active", "Patient.active", source{path: "active"}),
		dates("birthdate", "individual-birthdate", "Patient.birthDate", source{path: "birthDate", kind: dateTime}),
		codes("gender", "individual-gender", "Patient.gender", "http://hl7.org/fhir/administrative-gender", source{path: "gender"}),
		identifiers("identifier", "Patient-identifier", "Patient.identifier", source{path: "identifier"}),
	},
}

// everywhere are the parameters of all types.
var everywhere = []row{
	{Param: Param{Name: "_id", Type: TokenParam, Definition: definitions + "Resource-id", Expression: "Resource.id", CaseSensitive: true, Sortable: true}},
	{Param: Param{Name: "_lastUpdated", Type: DateParam, Definition: definitions + "Resource-lastUpdated", Expression: "Resource.meta.lastUpdated", Sortable: true}},
}

const definitions = "http://hl7.org/fhir/SearchParameter/"

// tokens are codes of any system, compared without case: when in doubt, a server
// should. http://hl7.org/fhir/R4/search.html#token
func tokens(name, definition, expression string, from ...source) row {
	return row{Param: Param{Name: name, Type: TokenParam, Definition: definitions + definition, Expression: expression}, sources: from}
}

// identifiers compare with case, unless the system is known to allow otherwise.
// http://hl7.org/fhir/R4/datatypes.html#Identifier
func identifiers(name, definition, expression string, from source) row {
	from.kind = identifier
	r := tokens(name, definition, expression, from)
	r.CaseSensitive = true
	return r
}

// codes are of a code system of FHIR itself, all of which are case sensitive.
func codes(name, definition, expression, system string, from source) row {
	from.kind = code
	r := tokens(name, definition, expression, from)
	r.CaseSensitive, r.system = true, system
	return r
}

func booleans(name, definition, expression string, from source) row {
	from.kind = boolean
	r := tokens(name, definition, expression, from)
	r.CaseSensitive = true
	return r
}

func references(name, definition, expression string, targets []string, from source) row {
	from.kind = reference
	return row{Param: Param{Name: name, Type: ReferenceParam, Definition: definitions + definition, Expression: expression, Targets: targets}, sources: []source{from}}
}

func dates(name, definition, expression string, from ...source) row {
	return row{Param: Param{Name: name, Type: DateParam, Definition: definitions + definition, Expression: expression}, sources: from}
}

func quantities(name, definition, expression string, from ...source) row {
	return row{Param: Param{Name: name, Type: QuantityParam, Definition: definitions + definition, Expression: expression}, sources: from}
}

func sortable(r row) row {
	r.Sortable = true
	return r
}

// Types are the resource types that can be searched, sorted.
func Types() []string {
	var names []string
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Params are the search parameters of a resource type, sorted by name: none for a type
// that is not in Types.
func Params(resourceType string) []Param {
	rows, ok := table[resourceType]
	if !ok {
		return nil
	}
	var params []Param
	for _, r := range slices.Concat(everywhere, rows) {
		params = append(params, clone(r.Param))
	}
	slices.SortFunc(params, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return params
}

// Lookup is the search parameter of that name.
func Lookup(resourceType, name string) (Param, bool) {
	r, ok := lookup(resourceType, name)
	return clone(r.Param), ok
}

func lookup(resourceType, name string) (row, bool) {
	rows, ok := table[resourceType]
	if !ok {
		return row{}, false
	}
	for _, rows := range [][]row{everywhere, rows} {
		for _, r := range rows {
			if r.Name == name {
				return r, true
			}
		}
	}
	return row{}, false
}

// clone keeps callers from writing into the table.
func clone(p Param) Param {
	p.Targets = slices.Clone(p.Targets)
	return p
}
