package definitions

import "strings"

// Unbounded is the Max of an element that may occur any number of times.
const Unbounded = -1

// Element is an ElementDefinition: what a structure says of one of its elements.
// http://hl7.org/fhir/R4/elementdefinition.html
type Element struct {
	Name             string // component; value for value[x]
	Slice            string // the name of the slice of Name that it describes, or ""
	Choice           bool   // value[x]: in JSON the name is followed by that of the type
	Min, Max         int
	List             bool   // JSON has an array, whatever Max is here
	Types            []Type // none if Content is set
	Content          *Element
	Binding          *Binding
	Fixed, Pattern   *Value
	MinValue         *Value
	MaxValue         *Value
	MaxLength        int // in characters, 0 is no limit
	Regex            string
	Slicing          *Slicing
	Invariants       []*Invariant
	MustSupport      bool
	Modifier         bool
	Summary          bool
	Attribute        bool // an attribute in XML: it has no extensions
	Children, Slices []*Element
	Parent           *Element // nil for the root; of a slice the parent of what is sliced
}

// Type is one of the types that an element may have.
type Type struct {
	Code     string   // Quantity
	Profiles []string // the value must conform to one of them
	Targets  []string // of a Reference or canonical: structures or profiles of the target
}

// Strength of a binding. http://hl7.org/fhir/R4/terminologies.html#strength
type Strength uint8

// The strengths, strongest first.
const (
	Required Strength = iota + 1
	Extensible
	Preferred
	Example
)

// Binding ties a coded element to a value set.
type Binding struct {
	Strength Strength
	ValueSet string // canonical URL, "" if there is only a description
	Max      string // the value set beyond which no code is allowed, or ""
}

// Value is a value in a definition.
type Value struct {
	Type string // CodeableConcept
	JSON string // compact
}

// SlicingRules say whether there may be items that are in no slice.
type SlicingRules uint8

// The rules of slicing.
const (
	Open SlicingRules = iota + 1
	OpenAtEnd
	Closed
)

// Slicing says how the items of an element are told apart.
// http://hl7.org/fhir/R4/profiling.html#slicing
type Slicing struct {
	Rules          SlicingRules
	Ordered        bool
	Discriminators []Discriminator
}

// DiscriminatorType says how two slices differ at the path of a discriminator.
type DiscriminatorType uint8

// The types of discriminators.
const (
	ByValue DiscriminatorType = iota + 1
	ByExistence
	ByPattern
	ByType
	ByProfile
)

// Discriminator is a difference between the slices of an element.
type Discriminator struct {
	Type DiscriminatorType
	Path string // a simple FHIRPath from the sliced element, $this for itself
}

// Path is where the element is in its structure, without slices: Observation.component.code
func (e *Element) Path() string { return e.path(false) }

// ID is where the element is in its structure, with slices:
// Observation.component:SystolicBP.code
func (e *Element) ID() string { return e.path(true) }

func (e *Element) path(slices bool) string {
	name := e.Name
	if e.Choice {
		name += "[x]"
	}
	if slices && e.Slice != "" {
		name += ":" + e.Slice
	}
	if e.Parent == nil {
		return name
	}
	return e.Parent.path(slices) + "." + name
}

// Child is the child that a JSON object calls name, and its type: for valueQuantity the
// child value[x] with the type Quantity. The type is nil if there is no or more than one.
// The underscore of a name like _status is not part of name.
func (e *Element) Child(name string) (*Element, *Type) {
	for _, c := range e.Children {
		rest, ok := strings.CutPrefix(name, c.Name)
		if !ok {
			continue
		}
		if !c.Choice {
			if rest != "" {
				continue
			}
			if len(c.Types) == 1 {
				return c, &c.Types[0]
			}
			return c, nil
		}
		for i := range c.Types {
			if JSONType(c.Types[i].Code) == rest {
				return c, &c.Types[i]
			}
		}
	}
	return nil, nil
}

// JSONType is the name of a type at the end of the JSON name of a choice: DateTime for dateTime.
func JSONType(code string) string {
	if code == "" {
		return ""
	}
	return strings.ToUpper(code[:1]) + code[1:]
}
