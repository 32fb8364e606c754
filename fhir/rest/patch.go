package rest

import (
	"encoding/base64"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/patch"
	"github.com/kiln-health/kiln/store"
)

const (
	jsonPatch = "application/json-patch+json"
	// acceptPatch are the media types of patches. https://www.rfc-editor.org/rfc/rfc5789#section-3.1
	acceptPatch = jsonPatch + ", application/fhir+json, application/fhir+xml"
	specPatch   = "http://hl7.org/fhir/R4/http.html#patch"
)

// change is a patch as it was sent.
type change struct {
	apply    func(resource, patch []byte) ([]byte, error)
	document []byte
}

// patch changes a part of the resource that the URL names, or of the one that matches its
// query. A race that is lost without If-Match is run again: the patch then applies to what
// the other writer made. http://hl7.org/fhir/R4/http.html#patch
func (s *server) patch(x *exchange) (reply, error) {
	stated, err := precondition(x)
	if err != nil {
		return reply{}, err
	}
	p, err := s.sentPatch(x)
	if err != nil {
		return reply{}, err
	}
	return again(func() (reply, error) {
		current, err := s.target(x)
		if err != nil {
			return reply{}, err
		}
		c, err := s.patched(x, p, stated, current)
		if err != nil {
			return reply{}, err
		}
		r, err := s.put(x, c, store.Change{
			Key: fhir.Key{Type: current.Type, ID: current.ID}, JSON: c.json, Terms: c.terms, Parameters: c.by, If: store.Condition{Version: current.Version},
		})
		return r, ours(err, stated)
	})
}

// sentPatch reads the body: a JSON Patch, or the Parameters of a FHIRPath Patch.
func (s *server) sentPatch(x *exchange) (change, error) {
	mediaType, params, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err == nil && mediaType == jsonPatch && isUTF8(params) && x.plain() {
		body, err := readBody(x, s.MaxBody)
		return change{patch.JSON, body}, err
	}
	if _, err := x.sends(); err != nil {
		r := refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "the body is no patch that is known here").
			fix("send a JSON Patch as " + jsonPatch + ", or a FHIRPath Patch as application/fhir+json or application/fhir+xml").spec(specPatch)
		r.reply = r.reply.with("Accept-Patch", acceptPatch)
		return change{}, r
	}
	body, err := s.received(x)
	if err != nil {
		return change{}, err
	}
	return sentParameters(body)
}

func sentParameters(body []byte) (change, error) {
	if typeOf(body) != "Parameters" {
		return change{}, refuse(http.StatusBadRequest, fhir.CodeStructure, "the body is no FHIRPath Patch: that is a Parameters resource").
			fix("send Parameters, or a JSON Patch as " + jsonPatch).spec("http://hl7.org/fhir/R4/fhirpatch.html")
	}
	return change{patch.FHIRPath, body}, nil
}

// patchIn reads the patch in an entry of a Bundle: Parameters, or a Binary with a JSON Patch.
// http://hl7.org/fhir/R4/http.html#jsonpatch-transaction
func patchIn(resource []byte) (change, error) {
	if typeOf(resource) != "Binary" {
		return sentParameters(resource)
	}
	var b struct {
		ContentType string `json:"contentType"`
		Data        string `json:"data"`
	}
	err := json.Unmarshal(resource, &b)
	mediaType, _, _ := strings.Cut(b.ContentType, ";")
	document, malformed := base64.StdEncoding.DecodeString(strings.Map(notSpace, b.Data))
	if err != nil || malformed != nil || strings.TrimSpace(mediaType) != jsonPatch {
		return change{}, refuse(http.StatusBadRequest, fhir.CodeValue, "the Binary holds no JSON Patch").
			fix("send it as data, in base64, with the contentType " + jsonPatch).spec(specPatch)
	}
	return change{patch.JSON, document}, nil
}

func notSpace(r rune) rune {
	if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
		return -1
	}
	return r
}

// patched is the resource after the patch, valid.
func (s *server) patched(x *exchange, p change, stated store.Condition, current fhir.Resource) (content, error) {
	if err := holds(stated, current); err != nil {
		return content{}, err
	}
	body, err := p.apply(current.JSON, p.document)
	if err != nil {
		r := bad(err)
		r.reply.status = patchStatus(r.issues[0].Code)
		return content{}, r
	}
	return s.rewritten(current.Type, body)
}

// patchStatus is what the failure of a patch means, by the code of package patch.
// https://www.rfc-editor.org/rfc/rfc5789#section-2.2
func patchStatus(code string) int {
	switch {
	case code == fhir.CodeConflict:
		return http.StatusConflict
	case slices.Contains([]string{fhir.CodeNotFound, fhir.CodeDuplicate, fhir.CodeBusinessRule, patch.CodeMultiple}, code):
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadRequest
}
