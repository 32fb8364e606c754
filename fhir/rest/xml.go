package rest

import (
	"net/http"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/xmlformat"
)

// xml is the reply with its body in XML, indented for who asks for _pretty. http://hl7.org/fhir/R4/xml.html
//
// A body that has no XML, because it was stored without being validated or is too long,
// becomes an OperationOutcome: 406, but for a write, which was done and stays a success.
func (r reply) xml(x *exchange) reply {
	if r.body == nil {
		return r
	}
	write := xmlformat.FromJSON
	if x.pretty {
		write = xmlformat.Indented
	}
	body, err := write(r.body)
	if err == nil {
		r.body = body
		return r
	}
	if r.status >= http.StatusBadRequest {
		x.format = inJSON // the refusal matters more than its form
		return r
	}
	issue := fhir.Issue{
		Severity: fhir.SevError, Code: fhir.CodeNotSupported, Message: "what was asked for cannot be written in XML",
		Fix: "ask for application/fhir+json, or for less at once", Spec: "http://hl7.org/fhir/R4/xml.html",
	}
	if r.wrote {
		issue.Severity, issue.Message = fhir.Warning, "the request was done, but its answer cannot be written in XML"
	} else {
		r = reply{status: http.StatusNotAcceptable}
	}
	outcome := fhir.OperationOutcome(append([]fhir.Issue{issue}, fhir.IssuesOf(err)...)...)
	if r.body, err = write(outcome); err != nil {
		r.body, x.format = outcome, inJSON
	}
	return r
}
