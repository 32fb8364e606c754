package rest

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
	"github.com/kiln-health/kiln/fhir/validate"
)

// Validation is how thoroughly a resource is checked before it is stored.
type Validation string

// The levels of validation, each with what the next one checks.
const (
	// ValidateProfiles also checks invariants, and the profiles that resources claim in
	// meta.profile as far as they are known: a claim that is not known is a warning.
	ValidateProfiles Validation = "profiles"
	// ValidateInvariants checks the rules of R4 itself, without profiles.
	ValidateInvariants Validation = "invariants"
	// ValidateStructure checks elements and their number, primitives, codes and references.
	ValidateStructure Validation = "structure"
	// ValidateNothing asks for JSON with the resourceType and the id of the URL only. It is
	// for resources that were checked elsewhere: what is stored may be no FHIR at all.
	ValidateNothing Validation = "nothing"
)

// DeviceRules is what the rules of package validate that FHIR itself does not have count as:
// codes and units that do not fit, values that nobody can have, and others. They are held
// where invariants are.
type DeviceRules string

// The ways to take what device rules find in a resource that is to be stored.
const (
	// DeviceRulesWarn stores it: a device's reading is not lost because it is odd. Who prefers
	// an OperationOutcome is told.
	DeviceRulesWarn DeviceRules = "warn"
	// DeviceRulesError refuses it if the rule is one whose findings are errors.
	DeviceRulesError DeviceRules = "error"
	// DeviceRulesOff does not look for it.
	DeviceRulesOff DeviceRules = "off"
)

// findings is what validate calls it. A value that does not exist is a warning.
func (d DeviceRules) findings() validate.Findings {
	switch d {
	case DeviceRulesError:
		return validate.AsRuled
	case DeviceRulesOff:
		return validate.Ignored
	}
	return validate.Advisory
}

// promise is what the CapabilityStatement says of it, if the level of validation holds the rules.
func (d DeviceRules) promise(level Validation) string {
	switch {
	case d != DeviceRulesError, level == ValidateStructure, level == ValidateNothing:
		return ""
	}
	return " What breaks a device rule of severity error (units, LOINC and UDI check digits) is not stored either."
}

// maxIssues leaves room in an OperationOutcome for how many more there are, and for one
// that says what was done.
const maxIssues = fhir.MaxOutcomeIssues - 2

// level is what validate calls it. A value that does not exist is the most thorough one.
func (v Validation) level() validate.Level {
	switch v {
	case ValidateInvariants:
		return validate.Invariants
	case ValidateStructure:
		return validate.Structure
	}
	return validate.Profiles
}

// promise is what the CapabilityStatement says of it.
func (v Validation) promise() string {
	switch v {
	case ValidateInvariants:
		return "A resource that breaks a rule of R4 is not stored; profiles are not checked."
	case ValidateStructure:
		return "A resource whose structure is not that of R4 is not stored; invariants and profiles are not checked."
	case ValidateNothing:
		return "Resources are stored without being validated."
	}
	return "A resource that breaks a rule of R4, or of a known profile that it claims in meta.profile, is not stored."
}

// content is a resource that a client sent and that may be stored.
type content struct {
	id       string        // "" if it has none
	json     []byte        // compact
	terms    *search.Terms // of json, nil if the walk that validates was not made
	by       *search.Parameters
	warnings []fhir.Issue
}

// resource reads the body: a valid resource of the type of the URL.
func (s *server) resource(x *exchange) (content, error) {
	body, err := s.received(x)
	if err != nil {
		return content{}, err
	}
	return s.content(x.key.Type, body)
}

// rewritten is content for a resource of this server that a request changes, no larger than
// one that is sent.
func (s *server) rewritten(resourceType string, body []byte) (content, error) {
	if int64(len(body)) > s.MaxBody {
		return content{}, tooLarge(s.MaxBody)
	}
	return s.content(resourceType, body)
}

// content reads a resource that must be of a type.
func (s *server) content(resourceType string, body []byte) (content, error) {
	if s.Validation == ValidateNothing {
		return unchecked(resourceType, body)
	}
	by := s.parameters()
	extractor := by.Extractor(resourceType, body)
	found, err := s.validated(resourceType, body, extractor.Element)
	if err != nil {
		return content{}, err
	}
	terms := extractor.Terms()
	c := content{id: idOf(body, found), terms: &terms, by: by}
	if len(found.Found) > 0 {
		c.warnings = found.Issues()
	}
	compact := jsontext.Value(body)
	if err := compact.Compact(); err != nil {
		return content{}, err // it was valid JSON a moment ago
	}
	c.json = compact
	return c, nil
}

// validated refuses a resource with faults, or of another type. The elements of one without are
// told on the way.
func (s *server) validated(resourceType string, body []byte, elements func(depth int, name string, start int) bool) (validate.Result, error) {
	found := validate.Resource(body, &validate.Options{Level: s.Validation.level(), MaxIssues: maxIssues, DeviceRules: s.DeviceRules.findings(), Elements: elements})
	if found.Type != "" && found.Type != resourceType {
		return found, otherType()
	}
	if !found.Valid() {
		return found, invalid(body, found)
	}
	return found, nil
}

// unchecked is content for a server that does not validate.
func unchecked(want string, body []byte) (content, error) {
	resourceType, id, compact, err := fhir.Parse(body)
	if err != nil {
		return content{}, bad(err)
	}
	if resourceType != want {
		return content{}, otherType()
	}
	return content{id: id, json: compact}, nil
}

// idOf is the id of a resource in which no fault was found, "" if it has none.
func idOf(body []byte, found validate.Result) string {
	id, err := jsontext.AppendUnquote(nil, body[found.ID.Start:found.ID.End])
	if err != nil {
		return "" // the span of none is empty
	}
	return string(id)
}

// invalid is 400 if the body is no R4 at all, and 422 if it only breaks invariants or
// profiles. http://hl7.org/fhir/R4/http.html#create
func invalid(body []byte, found validate.Result) *refused {
	status := http.StatusUnprocessableEntity
	if base := validate.Resource(body, &validate.Options{Level: validate.Structure, MaxIssues: 1}); !base.Valid() {
		status = http.StatusBadRequest
	}
	return &refused{reply{status: status}, told(found)}
}

// told are the issues of what was found. Those of JSON that cannot be read have no path:
// they say the line and the column in its place.
func told(found validate.Result) []fhir.Issue {
	issues := found.Issues()
	for i, f := range found.Found {
		if f.Severity == fhir.Fatal && f.Path == "" {
			issues[i].Path = fmt.Sprintf("line %d column %d", f.Line, f.Column)
		}
	}
	return issues
}

func otherType() *refused {
	return refuse(http.StatusBadRequest, fhir.CodeInvalid, "the resourceType of the body is not the type of the URL").at("resourceType").
		fix("send a resource of the type of the URL, or use the URL of its type").spec("http://hl7.org/fhir/R4/http.html#create")
}

// otherID refuses a resource that is not the one of the URL.
func otherID(resourceType string) *refused {
	return refuse(http.StatusBadRequest, fhir.CodeValue, "the id of the resource is not the id of the URL").at(resourceType + ".id").
		fix("send the id of the URL in the resource").spec("http://hl7.org/fhir/R4/http.html#update")
}
