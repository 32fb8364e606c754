// Package search is what a FHIR R4 search means, with no storage in it: the parameters
// there are, how a query is read (Parameters.Parse), which index values a resource has
// (Parameters.Extract), and when the one matches the other (Query.Matches). Every store
// plans in its own way and must agree with Matches.
//
// http://hl7.org/fhir/R4/search.html
package search

import (
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/kiln-health/kiln/fhir"
)

// ParamType is the type of a search parameter. http://hl7.org/fhir/R4/search.html#ptypes
type ParamType string

// The types that are searched here. The one special parameter that is searched is near, of a
// Location: the others of R4 are Refused.
const (
	TokenParam     ParamType = "token"
	ReferenceParam ParamType = "reference"
	DateParam      ParamType = "date"
	QuantityParam  ParamType = "quantity"
	NumberParam    ParamType = "number"
	StringParam    ParamType = "string"
	URIParam       ParamType = "uri"
	CompositeParam ParamType = "composite"
	SpecialParam   ParamType = "special"
)

// Param is a search parameter of a resource type.
type Param struct {
	Name          string
	Type          ParamType
	Definition    string   // canonical URL of the SearchParameter
	Expression    string   // its FHIRPath, as defined or as corrected
	Targets       []string // resource types that a reference may point at; nil is any
	CaseSensitive bool     // token codes compare with case
	Sortable      bool
	// Components are the parameters that a composite combines, in the order in which a value
	// gives theirs. Their expressions start at what the composite's own finds.
	Components []Param
}

// Terms are the index values of one resource, as Extract finds them. Slices are in
// the order of the document and hold no two equal values.
//
// Two modifiers compare with values of their own, which have names of their own: Strings
// with the Param code:text for code:text, and Tokens with the Param identifier:of-type,
// the System and Code of the type, a bar, and the value, for identifier:of-type.
type Terms struct {
	Tokens     []Token
	References []Reference
	Dates      []Date
	Quantities []Quantity // also of number parameters: without a unit
	Strings    []String
	URIs       []URI
	Tuples     []Tuple
	Positions  []Position
}

// Token is a value of a token parameter. System is "" where the element has none, which
// is what |code asks for. Code is "" where there is a system only, and in lower case if
// the parameter is compared without case, as it is in a Value.
// http://hl7.org/fhir/R4/search.html#token
type Token struct{ Param, System, Code string }

// Reference is a value of a reference parameter: Type and ID for a relative reference,
// URL for every other (absolute, without its version; urn:; #contained; a canonical, of
// which Version is what follows the bar), and the identifier of a logical one, which may
// come with either or alone. http://hl7.org/fhir/R4/search.html#reference
type Reference struct {
	Param, Type, ID  string
	URL, Version     string
	IdentifierSystem string
	IdentifierValue  string
}

// Date is a value of a date parameter as the half-open interval [Low, High), in UTC. An
// open Period has a zero Low or High. An instant, and a time with fractions of a second,
// has High one nanosecond after Low. The years 2 to 10000 occur, more than
// time.Time.UnixNano can hold.
// http://hl7.org/fhir/R4/search.html#date
type Date struct {
	Param     string
	Low, High time.Time
}

// Quantity is a value of a quantity parameter, as the interval from Low to High. They
// are equal for a plain value and differ for the bounds of SampledData and Range; a
// comparator makes one side nil, which is infinite, and the other open where it is < or >.
// http://hl7.org/fhir/R4/search.html#quantity
type Quantity struct {
	Param, System, Code, Unit string
	Low, High                 *apd.Decimal
	LowOpen, HighOpen         bool // the edge itself is not part of the value
}

// String is a value of a string parameter, as it is written. Fold gives the form that is
// compared without :exact. http://hl7.org/fhir/R4/search.html#string
type String struct{ Param, Text string }

// URI is a value of a uri parameter. http://hl7.org/fhir/R4/search.html#uri
type URI struct{ Param, Value string }

// Tuple is one repetition of what a composite parameter is about: the terms of each of
// its components, under the name of the component. http://hl7.org/fhir/R4/search.html#composite
type Tuple struct {
	Param string
	Parts []Terms
}

// Prefix is the comparison of an ordered value. http://hl7.org/fhir/R4/search.html#prefix
type Prefix string

// The prefixes.
const (
	EQ Prefix = "eq"
	NE Prefix = "ne"
	GT Prefix = "gt"
	LT Prefix = "lt"
	GE Prefix = "ge"
	LE Prefix = "le"
	SA Prefix = "sa"
	EB Prefix = "eb"
	AP Prefix = "ap"
)

// Query is a parsed search. A resource matches when every clause holds.
type Query struct {
	Type  string
	Where []Clause
	Sort  []Sort // never empty after Parse: the last key is always _id
	// DefaultOrder: Sort is that of the type, nobody asked for it, and Encode does not show it.
	DefaultOrder bool
	Count        int // resources in a page; 0 asks for the total only
	Total        Total
	Include      []Include
	// Summary is "true", "text" or "data", else "": _summary=count is a Count of 0. Elements are
	// those of _elements. Both are about how the matches are shown, not which they are.
	Summary  string
	Elements []string
	// After is where the page begins: right behind this place in the order of Sort. Nil is the beginning.
	After *Cursor
}

// Clause is one condition of the query. It is one of three: a parameter, of which any
// value may match; a link to other resources; or several clauses of which one must hold.
type Clause struct {
	Param    Param
	Modifier string // "" or one that Parse allows for the type of the parameter
	Values   []Value

	// Chain are the searches of which the resource that Param, a reference, refers to must
	// match one: subject:Patient.name=x has one search for Patients by name, subject.name=x
	// one for each type that the reference may point at and that has the parameter.
	// http://hl7.org/fhir/R4/search.html#chaining
	Chain []Query
	// Has is the search of which a match must refer to the resource by the reference
	// parameter By. http://hl7.org/fhir/R4/search.html#has
	Has *Has
	// Any are clauses of which one must hold, as for the parameters of a compartment.
	Any []Clause

	// Among is what Resolve makes of Chain and Has: the resources that are meant, without
	// their versions. Those of Chain are compared with the References of Param, those of Has,
	// and of a clause that has nothing else, with the resource itself.
	Among map[fhir.Key]bool

	// Canonical, with Chain, says that Param has canonical URLs as its references.
	// http://hl7.org/fhir/R4/references.html#canonical
	Canonical bool
	// AmongURLs is what Resolve makes of a Chain that is Canonical, beside Among: what a
	// reference to one of those resources may say. Each has its URL there without a version,
	// for references that name none, and with the one that it has.
	AmongURLs map[Canonical]bool
}

// Canonical is the canonical URL of a resource and its business version, "" for any.
// http://hl7.org/fhir/R4/references.html#canonical
type Canonical struct{ URL, Version string }

// Has is a link from other resources to the one that is searched.
type Has struct {
	By    Param
	Query Query
}

// Include asks for resources that the matches refer to, or, Reverse, that refer to them.
// http://hl7.org/fhir/R4/search.html#include
type Include struct {
	Source  string // the type that has the reference
	Param   string // the reference parameter; "*" is each of them
	Target  string // the type that is referred to, "" is any
	Reverse bool
	Iterate bool // also for resources that were included themselves
}

// Value is one alternative of a clause. Which fields count depends on Param.Type.
type Value struct {
	Prefix Prefix // dates, numbers and quantities; "" elsewhere
	Text   string // as it was written, with its escapes, for Encode

	// Token and :identifier: AnySystem for a bare code, AnyCode for system|. System and
	// Code are in the form of Token, so that they compare with ==; with :of-type Code is the
	// code of the type, a bar, and the value.
	// Quantity: bare n has both, n||code AnySystem (Code is a code or a unit), n|system| AnyCode.
	// _id: Code. Missing holds the value of :missing, for any type of parameter.
	System, Code       string
	AnySystem, AnyCode bool
	Missing            bool
	// Unit is the unit of a quantity whose System and Code are of UCUM, else nil.
	Unit *Unit
	// Set, with :in, :not-in, :above and :below of a token, are the codes that are meant.
	Set *CodeSet

	// Reference: RefType is "" for a bare id that may be of any type; URL, with no RefID,
	// for an absolute URL that is not ours or a canonical, whose Version may be "" for any.
	RefType, RefID, URL, Version string

	// String: the text that is looked for, folded unless the modifier is exact. URI: the URI.
	String string

	// Date: the half-open interval that the text stands for.
	// Number and quantity: Number is what was written, Low and High the edges of its implied
	// precision: a number n equals it if Low <= n < High.
	// With prefix ap both intervals are already as wide as approximate means.
	From, To          time.Time
	Number, Low, High *apd.Decimal

	// Parts are the values of the components of a composite.
	Parts []Value

	// Near is where and how far away, for near.
	Near *Near
}

// Sort is one key of the order: a parameter that is Sortable, "_lastUpdated" or "_id".
type Sort struct {
	Param      string
	Type       ParamType
	Descending bool
}

// Total says whether the number of all matches is wanted.
type Total string

// The values of _total. Estimate is answered as accurate.
const (
	TotalNone     Total = "none"
	TotalEstimate Total = "estimate"
	TotalAccurate Total = "accurate"
)

// Cursor is a place in the order of a query: the sort keys of the last resource of a
// page. It stays right under concurrent writes: a resource is seen once unless its own
// key moves. Date is zero for a resource without the date.
type Cursor struct {
	Date        time.Time // effective low edge, if sorted by date
	LastUpdated time.Time // if sorted by _lastUpdated
	// Keys are those of the other parameters that the query is sorted by, in their order: texts
	// whose order is that of the values, "" for a resource without one.
	Keys []string
	ID   string
	// View is the state of the store that the page before was read from, 0 if the store does not
	// keep one. It is no part of the place.
	View uint64
}

// Limits of a query that a stranger sends.
const (
	DefaultCount = 50
	MaxCount     = 1000
	MaxClauses   = 50  // with those at the ends of chains, one for each type that they may lead to
	MaxValues    = 200 // alternatives in one clause
	MaxDepth     = 8   // links of one chain
	MaxIncludes  = 50
	MaxElements  = 200
	MaxSort      = 8 // keys of the order
	// MaxAmong is how many resources the chains and _has of one query may lead through.
	MaxAmong = 100_000
	// MaxValueLength is how many bytes an alternative may have. What is longer in a resource
	// gives no term: no query could ask for it.
	MaxValueLength = 1024
)
