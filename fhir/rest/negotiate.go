package rest

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/search"
)

// jsonTypes are the media types that mean FHIR JSON, the last one as DSTU2 wrote it.
// http://hl7.org/fhir/R4/http.html#mime-type
var jsonTypes = [...]string{"application/fhir+json", "application/json", "text/json", "application/json+fhir"}

func isJSON(mediaType string) bool { return slices.Contains(jsonTypes[:], mediaType) }

// isR4 reports whether the parameters of a media type leave FHIR R4 as the version.
// http://hl7.org/fhir/R4/http.html#version-parameter
func isR4(params map[string]string) bool {
	v, stated := params["fhirversion"]
	return !stated || v == "4.0" || v == "4.0.1"
}

// acceptJSON refuses a request for another format. _format wins over Accept.
func (x *exchange) acceptJSON() error {
	if format := first(x.query, "_format"); format != "" {
		return acceptFormat(format)
	}
	if accept := x.Header.Values("Accept"); !acceptsJSON(strings.Join(accept, ",")) {
		return notAcceptable("Accept")
	}
	return nil
}

func notAcceptable(where string) *refused {
	return refuse(http.StatusNotAcceptable, fhir.CodeNotSupported, where+" asks for a format that is not written here").
		fix("ask for application/fhir+json, with fhirVersion=4.0 or without a version").
		spec("http://hl7.org/fhir/R4/http.html#mime-type")
}

// acceptFormat reads a value of _format: json, or a media type, in which a + that was
// not percent-encoded arrives as a blank. http://hl7.org/fhir/R4/http.html#parameters
func acceptFormat(format string) error {
	name, params, _ := strings.Cut(format, ";")
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "+")
	if name == "json" {
		return nil
	}
	if mediaType, p, err := mime.ParseMediaType(name + ";" + params); err == nil && isJSON(mediaType) && isR4(p) {
		return nil
	}
	return notAcceptable("_format")
}

// acceptsJSON reports whether an Accept header leaves one of the forms of JSON a
// quality above zero; the most specific range decides for each.
// https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
func acceptsJSON(accept string) bool {
	if strings.TrimSpace(accept) == "" {
		return true
	}
	quality, specific := [len(jsonTypes)]float64{}, [len(jsonTypes)]int{}
	for _, text := range splitList(accept) {
		mediaRange, params, err := mime.ParseMediaType(text)
		if err != nil || !isR4(params) {
			continue
		}
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		for i, name := range jsonTypes {
			rank := 0
			switch mediaRange {
			case name:
				rank = 3
			case name[:strings.IndexByte(name, '/')] + "/*":
				rank = 2
			case "*/*", "*": // the old HttpURLConnection of Java sends *
				rank = 1
			}
			if rank > specific[i] {
				quality[i], specific[i] = q, rank
			} else if rank == specific[i] && rank > 0 {
				quality[i] = max(quality[i], q)
			}
		}
	}
	return slices.Max(quality[:]) > 0
}

// splitList takes a header of comma-separated elements apart; a comma in a quoted
// string separates nothing. https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1
func splitList(header string) []string {
	var list []string
	begin, quoted := 0, false
	for i := 0; i < len(header); i++ {
		switch c := header[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			list = append(list, strings.TrimSpace(header[begin:i]))
			begin = i + 1
		}
	}
	return append(list, strings.TrimSpace(header[begin:]))
}

// sendsJSON refuses a body that is not said to be FHIR JSON in UTF-8.
func (x *exchange) sendsJSON() error {
	mediaType, params, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err != nil || !isJSON(mediaType) || !isR4(params) || !isUTF8(params) || !x.plain() {
		return unsupportedMedia("the body must be FHIR JSON", "send Content-Type: application/fhir+json", "application/fhir+json, application/json")
	}
	return nil
}

// sendsForm refuses the body of a search that is not a form.
// http://hl7.org/fhir/R4/search.html#Introduction
func (x *exchange) sendsForm() error {
	mediaType, params, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" || !isUTF8(params) || !x.plain() {
		return unsupportedMedia("the body of a search must be a form",
			"send Content-Type: application/x-www-form-urlencoded", "application/x-www-form-urlencoded")
	}
	return nil
}

func isUTF8(params map[string]string) bool {
	v, stated := params["charset"]
	return !stated || strings.EqualFold(v, "utf-8")
}

// plain reports whether the body comes without compression: none is undone here.
func (x *exchange) plain() bool {
	e := x.Header.Get("Content-Encoding")
	return e == "" || strings.EqualFold(e, "identity")
}

func unsupportedMedia(message, fix, accept string) *refused {
	r := refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, message+", in UTF-8 and not compressed").fix(fix).
		spec("http://hl7.org/fhir/R4/http.html#mime-type")
	r.reply = r.reply.with("Accept", accept)
	return r
}

// preferences are what a client would like. http://hl7.org/fhir/R4/http.html#ops
type preferences struct {
	answer   string // "minimal", "representation", "operationoutcome" or "", of return=
	handling search.Handling
}

// parsePrefer reads the Prefer headers. The first of two values wins, and what is not
// known is left aside: https://www.rfc-editor.org/rfc/rfc7240#section-2
func parsePrefer(headers []string) preferences {
	var p preferences
	for _, h := range headers {
		for element := range strings.FieldsFuncSeq(h, func(r rune) bool { return r == ',' || r == ';' }) {
			name, value, _ := strings.Cut(element, "=")
			value = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "return":
				if p.answer == "" && slices.Contains([]string{"minimal", "representation", "operationoutcome"}, value) {
					p.answer = value
				}
			case "handling":
				if h := search.Handling(value); p.handling == "" && (h == search.Strict || h == search.Lenient) {
					p.handling = h
				}
			}
		}
	}
	return p
}

// first is the first value of a parameter that is not empty.
func first(params []search.Pair, name string) string {
	for _, p := range params {
		if p.Name == name && p.Value != "" {
			return p.Value
		}
	}
	return ""
}
