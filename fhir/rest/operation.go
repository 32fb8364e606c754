package rest

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/validate"
)

const validateSpec = "http://hl7.org/fhir/R4/resource-operation-validate.html"

// question is what $validate is asked.
type question struct {
	resource []byte // JSON, nil if none was sent
	mode     string
	profile  string
}

// validate answers POST /[type]/$validate and GET or POST /[type]/[id]/$validate: 200 with
// all faults that were found, and 4xx if the question cannot be answered. Without a
// resource, the stored one is validated. It always checks everything, whatever the server
// asks of writes: http://hl7.org/fhir/R4/resource-operation-validate.html
func (s *server) validate(x *exchange) (reply, error) {
	q, err := s.question(x)
	if err != nil {
		return reply{}, err
	}
	if err := q.answerable(x); err != nil {
		return reply{}, err
	}
	if q.mode == "delete" || q.resource == nil {
		stored, err := s.store.Read(x.Context(), fhir.Key{Type: x.key.Type, ID: x.key.ID})
		if err != nil {
			return reply{}, err
		}
		q.resource = stored.JSON
	}
	if q.mode == "delete" {
		return verdict(nil, "the resource is there, and may be deleted"), nil
	}
	opt := validate.Options{Type: x.key.Type, MaxIssues: maxIssues}
	if q.profile != "" {
		opt.Profiles = []string{q.profile}
	}
	found := validate.Resource(q.resource, &opt)
	issues := told(found)
	if slices.ContainsFunc(issues, func(i fhir.Issue) bool { return i.Severity == fhir.Fatal }) {
		return reply{}, &refused{reply{status: http.StatusBadRequest}, issues} // not even JSON
	}
	if q.mode == "update" && idOf(q.resource, found) != x.key.ID {
		issues = append(issues, otherID(x.key.Type).issues...)
	}
	return verdict(issues, "no fault was found"), nil
}

// verdict is the OperationOutcome of a question that could be answered.
func verdict(issues []fhir.Issue, good string) reply {
	if len(issues) == 0 {
		issues = []fhir.Issue{{Severity: fhir.Information, Code: fhir.CodeInformational, Message: good}}
	}
	return reply{status: http.StatusOK, body: fhir.OperationOutcome(issues...)}
}

// answerable refuses a question whose parts do not go together.
func (q *question) answerable(x *exchange) error {
	switch q.mode {
	case "", "create", "update", "delete", "profile":
	default:
		return badQuestion(fhir.CodeValue, "mode is none of $validate").fix("use create, update, delete or profile, or leave it out")
	}
	stored := x.key.ID != ""
	switch {
	case !stored && q.mode != "" && q.mode != "create":
		return badQuestion(fhir.CodeInvalid, "mode "+q.mode+" is about a resource of the server").fix("use the URL /fhir/[type]/[id]/$validate")
	case q.mode == "profile" && q.resource != nil:
		return badQuestion(fhir.CodeInvalid, "mode profile is about the stored resource, and a resource was sent").fix("leave out the mode or the resource")
	case q.mode == "profile" && q.profile == "":
		return badQuestion(fhir.CodeRequired, "mode profile needs a profile").fix("add the parameter profile")
	case q.resource == nil && (!stored || q.mode == "create" || q.mode == "update"):
		return badQuestion(fhir.CodeRequired, "there is no resource to validate").fix("POST it, or Parameters with the parameter resource")
	case q.profile != "" && !known(x.key.Type, q.profile):
		return badQuestion(fhir.CodeNotSupported, "the profile is not known here").fix("leave it out, or ask for one of R4, US Core 6.1.0, PHD or PoCD")
	}
	return nil
}

// known reports whether resources can be validated against a profile. The smallest
// resource is asked: in one with faults, that of an unknown profile might not be told.
func known(resourceType, profile string) bool {
	found := validate.Resource([]byte(`{"resourceType":"`+resourceType+`"}`), &validate.Options{Profiles: []string{profile}})
	return !slices.ContainsFunc(found.Found, func(f validate.Found) bool {
		return f.Severity == fhir.SevError && f.Code == fhir.CodeNotSupported
	})
}

// question reads the URL and the body: a resource, or Parameters.
func (s *server) question(x *exchange) (*question, error) {
	q := &question{}
	for _, p := range x.query {
		switch {
		case p.Value == "" || p.Name == "_format" || p.Name == "_pretty":
		case p.Name == "mode" || p.Name == "profile":
			if err := q.set(p.Name, p.Value); err != nil {
				return nil, err
			}
		default: // one that is left aside might have changed the answer
			return nil, badQuestion(fhir.CodeNotSupported, "the URL has a parameter that is not known").fix("use mode and profile only")
		}
	}
	if x.Method != http.MethodPost || x.ContentLength == 0 {
		return q, nil
	}
	body, err := s.received(x)
	if err != nil {
		return nil, err
	}
	if typeOf(body) == "Parameters" {
		return q, q.read(body)
	}
	if len(bytes.TrimSpace(body)) > 0 { // of a body whose length was not announced
		q.resource = body
	}
	return q, nil
}

// parameters is what $validate takes of a Parameters resource. What newer and older
// versions call code and uri is read too.
type parameters struct {
	Parameter []struct {
		Name           string         `json:"name"`
		Resource       jsontext.Value `json:"resource"`
		ValueCode      string         `json:"valueCode"`
		ValueString    string         `json:"valueString"`
		ValueURI       string         `json:"valueUri"`
		ValueCanonical string         `json:"valueCanonical"`
	} `json:"parameter"`
}

func (q *question) read(body []byte) error {
	if _, _, _, err := fhir.Parse(body); err != nil {
		return bad(err)
	}
	var all parameters
	if err := json.Unmarshal(body, &all); err != nil {
		return badQuestion(fhir.CodeStructure, "the Parameters cannot be read").at("Parameters.parameter").
			fix("send a list of objects, each with name, and resource, valueCode or valueUri")
	}
	for _, p := range all.Parameter {
		var err error
		switch p.Name {
		case "resource":
			if q.resource != nil || p.Resource.Kind() != '{' {
				return badQuestion(fhir.CodeStructure, "the parameter resource must hold one resource").at("Parameters.parameter").fix("send one, as an object")
			}
			q.resource = p.Resource
		case "mode":
			err = q.set("mode", p.ValueCode, p.ValueString)
		case "profile":
			err = q.set("profile", p.ValueURI, p.ValueCanonical, p.ValueString)
		default:
			err = badQuestion(fhir.CodeNotSupported, "the Parameters have one that is not known").at("Parameters.parameter").fix("use resource, mode and profile")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set takes the one value that a parameter has.
func (q *question) set(name string, values ...string) error {
	to := &q.mode
	if name == "profile" {
		to = &q.profile
	}
	values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	if len(values) != 1 || *to != "" && *to != values[0] {
		return badQuestion(fhir.CodeValue, "the parameter "+name+" must have one value").fix("send mode as valueCode and profile as valueUri, each once")
	}
	*to = values[0]
	return nil
}

func badQuestion(code, message string) *refused {
	return refuse(http.StatusBadRequest, code, message).spec(validateSpec)
}

// operates reports whether a resource type has the operation of the shape.
func (p shape) operates(resourceType string) bool {
	return p.only == nil || p.only[resourceType] != ""
}

// noOperation refuses an operation that is not there, on a resource, on a type or, if the key
// has none, on the system. It tells which are.
// http://hl7.org/fhir/R4/operations.html#executing
func (s *server) noOperation(on fhir.Key) *refused {
	level, example := "/fhir/$", "the server itself"
	switch {
	case on.ID != "":
		level, example = "/fhir/:type/:id/$", "a resource of this type"
	case on.Type != "":
		level, example = "/fhir/:type/$", "this type"
	}
	var names, elsewhere []string
	for _, p := range s.shapes {
		if p.operation.Name == "" || on.Type != "" && !p.operates(on.Type) {
			continue
		}
		if name := "$" + p.operation.Name; strings.HasPrefix(p.path, level) {
			names = append(names, name)
		} else if on.Type != "" && !slices.Contains(elsewhere, name) {
			elsewhere = append(elsewhere, name)
		}
	}
	fix := "use one of " + strings.Join(names, ", ")
	elsewhere = slices.DeleteFunc(elsewhere, func(name string) bool { return slices.Contains(names, name) })
	if len(elsewhere) > 0 && on.ID == "" {
		fix += "; on a resource, " + strings.Join(elsewhere, ", ")
	} else if len(elsewhere) > 0 {
		fix += "; on the type, " + strings.Join(elsewhere, ", ")
	}
	return refuse(http.StatusNotFound, fhir.CodeNotSupported, "there is no such operation on "+example).fix(fix).spec(specOperations)
}

// typeOf is the resourceType of a body, "" if it has none that can be read.
func typeOf(body []byte) string {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	if d.PeekKind() != '{' {
		return ""
	}
	if _, err := d.ReadToken(); err != nil {
		return ""
	}
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return ""
		}
		if token.String() == "resourceType" && d.PeekKind() == '"' {
			if token, err = d.ReadToken(); err != nil {
				return ""
			}
			return token.String()
		}
		if d.SkipValue() != nil {
			return ""
		}
	}
	return ""
}
