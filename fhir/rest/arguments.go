package rest

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

const specOperations = "http://hl7.org/fhir/R4/operations.html#executing"

// argument is an input parameter of an operation, from the URL, a form or Parameters.
type argument struct {
	name string
	text string         // of a primitive
	json jsontext.Value // of any other type, else nil
	of   string         // the type of json, as Meta of valueMeta; resource of a resource
}

// arguments reads what an operation is asked: the URL, and the Parameters or the form in the
// body. What concerns the form of the answer, and what is empty, is left out.
// http://hl7.org/fhir/R4/operations.html#executing
func (s *server) arguments(x *exchange) ([]argument, error) {
	args := fromPairs(nil, x.query)
	if x.Method != http.MethodPost || x.ContentLength == 0 {
		return args, nil
	}
	if x.sendsForm() == nil {
		form, err := readForm(x)
		return fromPairs(args, form), err
	}
	body, err := s.received(x)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return args, err
	}
	if _, _, body, err = fhir.Parse(body); err != nil {
		return nil, bad(err)
	}
	return fromParameters(args, body)
}

func fromPairs(args []argument, pairs []search.Pair) []argument {
	for _, p := range pairs {
		if p.Value != "" && p.Name != "_format" && p.Name != "_pretty" {
			args = append(args, argument{name: p.Name, text: p.Value})
		}
	}
	return args
}

// maxArguments is how many parameters an operation may be given.
const maxArguments = 1000

func fromParameters(args []argument, body []byte) ([]argument, error) {
	malformed := func(message string) error {
		return refuse(http.StatusBadRequest, fhir.CodeStructure, message).at("Parameters.parameter").
			fix("send Parameters, each with name, and a value such as valueString, or a resource").spec(specOperations)
	}
	if typeOf(body) != "Parameters" {
		return nil, refuse(http.StatusBadRequest, fhir.CodeStructure, "the body is no Parameters resource").at("resourceType").
			fix("POST Parameters, or send the parameters in the URL").spec(specOperations)
	}
	var all struct {
		Parameter []map[string]jsontext.Value `json:"parameter"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, malformed("the Parameters cannot be read")
	}
	if len(all.Parameter) > maxArguments {
		return nil, refuse(http.StatusBadRequest, fhir.CodeTooCostly, "there are more than "+strconv.Itoa(maxArguments)+" parameters").at("Parameters.parameter").
			fix("ask in several steps")
	}
	for _, p := range all.Parameter {
		var a argument
		values := 0
		for member, value := range p {
			switch of, isValue := strings.CutPrefix(member, "value"); {
			case member == "name":
				if json.Unmarshal(value, &a.name) != nil {
					return nil, malformed("the name of a parameter is no text")
				}
			case member == "resource", isValue:
				values++
				if member == "resource" {
					of = member
				}
				if a.of = of; value.Kind() == '{' {
					a.json = value
				} else if value.Kind() != '"' {
					a.text = string(value)
				} else if err := json.Unmarshal(value, &a.text); err != nil {
					return nil, malformed("the value of a parameter cannot be read")
				}
			case member != "id":
				return nil, malformed("a parameter has more than a name and a value")
			}
		}
		if a.name == "" || values != 1 || a.text == "" && a.json == nil {
			return nil, malformed("a parameter has not one name and one value")
		}
		args = append(args, a)
	}
	return args, nil
}

// pairs are arguments as the parameters of a search.
func pairs(args []argument) ([]search.Pair, error) {
	all := make([]search.Pair, len(args))
	for i, a := range args {
		if a.json != nil {
			return nil, refuse(http.StatusBadRequest, fhir.CodeValue, "a search parameter has a value that is no text").at("Parameters.parameter").
				fix("send it as valueString, as it would be in a URL").spec(specOperations)
		}
		all[i] = search.Pair{Name: a.name, Value: a.text}
	}
	return all, nil
}

// positive reads a positiveInt.
func positive(a argument) (int, error) {
	n, err := strconv.ParseInt(a.text, 10, 32)
	if err != nil || n < 1 {
		return 0, badParameter(a.name, "a whole number, 1 or more")
	}
	return int(n), nil
}

// unknownArgument refuses a parameter that an operation does not have: left aside, it might
// have changed the answer.
func unknownArgument(known, spec string) *refused {
	return refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the operation has no parameter of a name that was sent").fix("use " + known).spec(spec)
}

// twice refuses a parameter that was sent more than once.
func twice(name, spec string) *refused {
	return refuse(http.StatusBadRequest, fhir.CodeInvalid, name+" is there twice").fix("send it once").spec(spec)
}

// tooCostly refuses to go on with what was asked correctly.
func tooCostly(message, fix string) *refused {
	return refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, message).fix(fix)
}
