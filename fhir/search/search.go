// Package search is what a FHIR R4 search means, with no storage in it: the parameters
// there are, how a query is read (Parse), which index values a resource has (Extract),
// and when the one matches the other (Query.Matches). Every store plans in its own way
// and must agree with Matches.
//
// http://hl7.org/fhir/R4/search.html
package search

import (
	"time"

	"github.com/cockroachdb/apd/v3"
)

// ParamType is the type of a search parameter. http://hl7.org/fhir/R4/search.html#ptypes
type ParamType string

// The types that are searched here.
const (
	TokenParam     ParamType = "token"
	ReferenceParam ParamType = "reference"
	DateParam      ParamType = "date"
	QuantityParam  ParamType = "quantity"
)

// Param is a search parameter of a resource type.
type Param struct {
	Name          string
	Type          ParamType
	Definition    string   // canonical URL of the SearchParameter
	Expression    string   // its FHIRPath, as defined
	Targets       []string // resource types that a reference may point at; nil is any
	CaseSensitive bool     // token codes compare with case
	Sortable      bool
}

// Terms are the index values of one resource, as Extract finds them. Slices are in
// the order of the document and hold no two equal values.
type Terms struct {
	Tokens     []Token
	References []Reference
	Dates      []Date
	Quantities []Quantity
}

// Token is a value of a token parameter. System is "" where the element has none,
// which is what |code asks for. Code is "" where there is a system only, and in lower
// case if the parameter is compared without case, as it is in a Value.
// http://hl7.org/fhir/R4/search.html#token
type Token struct{ Param, System, Code string }

// Reference is a value of a reference parameter: Type and ID for a relative reference,
// URL for every other (absolute, without its version; urn:; #contained), and the
// identifier of a logical one, which may come with either or alone.
// http://hl7.org/fhir/R4/search.html#reference
type Reference struct {
	Param, Type, ID  string
	URL              string
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
// are equal for a plain value and differ for the bounds of SampledData; a comparator
// makes one side nil, which is infinite, and the other open where it is < or >.
// http://hl7.org/fhir/R4/search.html#quantity
type Quantity struct {
	Param, System, Code, Unit string
	Low, High                 *apd.Decimal
	LowOpen, HighOpen         bool // the edge itself is not part of the value
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
	Count int    // resources in a page; 0 asks for the total only
	Total Total
	// After is where the page begins: right behind this place in the order of Sort. Nil is the beginning.
	After *Cursor
}

// Clause is one parameter of the query: any of its values may match.
type Clause struct {
	Param    Param
	Modifier string // "", "missing", "not", "identifier" or a resource type, as Parse allows for the type
	Values   []Value
}

// Value is one alternative of a clause. Which fields count depends on Param.Type.
type Value struct {
	Prefix Prefix // dates and quantities; "" elsewhere
	Text   string // as it was written, with its escapes, for Encode

	// Token and :identifier: AnySystem for a bare code, AnyCode for system|. System and
	// Code are in the form of Token, so that they compare with ==.
	// Quantity: bare n has both, n||code AnySystem (Code is a code or a unit), n|system| AnyCode.
	// _id: Code. Missing holds the value of :missing, for any type of parameter.
	System, Code       string
	AnySystem, AnyCode bool
	Missing            bool

	// Reference: RefType is "" for a bare id that may be of any type; URL, with no RefID,
	// for an absolute URL that is not ours.
	RefType, RefID, URL string

	// Date: the half-open interval that the text stands for.
	// Quantity: Number is what was written, Low and High the edges of its implied
	// precision: a number n equals it if Low <= n < High.
	// With prefix ap both intervals are already as wide as approximate means.
	From, To          time.Time
	Number, Low, High *apd.Decimal
}

// Sort is one key of the order: "date", "_lastUpdated" or "_id".
type Sort struct {
	Param      string
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
	ID          string
}

// Limits of a query that a stranger sends.
const (
	DefaultCount = 50
	MaxCount     = 1000
	MaxClauses   = 50
	MaxValues    = 200 // alternatives in one clause
	// MaxValueLength is how many bytes an alternative may have. What is longer in a resource
	// gives no term: no query could ask for it.
	MaxValueLength = 1024
)
