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

// format is a form in which FHIR is written. http://hl7.org/fhir/R4/formats.html
type format uint8

const (
	inJSON format = iota // unless XML is asked for
	inXML
)

// formats are the media types that mean a format, its own first and that of DSTU2 last.
// http://hl7.org/fhir/R4/http.html#mime-type
var formats = [...][4]string{
	inJSON: {"application/fhir+json", "application/json", "text/json", "application/json+fhir"},
	inXML:  {"application/fhir+xml", "application/xml", "text/xml", "application/xml+fhir"},
}

// formatOf is the format of a media type.
func formatOf(mediaType string) (format, bool) {
	for f := range formats {
		if slices.Contains(formats[f][:], mediaType) {
			return format(f), true
		}
	}
	return inJSON, false
}

// contentType of a response. Clients that asked for application/json get it too: it is the
// type that FHIR registers. http://hl7.org/fhir/R4/http.html#mime-type
func (f format) contentType() string {
	if f == inXML {
		return "application/fhir+xml; charset=utf-8"
	}
	return "application/fhir+json; charset=utf-8"
}

// isR4 reports whether the parameters of a media type leave FHIR R4 as the version.
// http://hl7.org/fhir/R4/http.html#version-parameter
func isR4(params map[string]string) bool {
	v, stated := params["fhirversion"]
	return !stated || v == "4.0" || v == "4.0.1"
}

func notAcceptable(where string) *refused {
	return refuse(http.StatusNotAcceptable, fhir.CodeNotSupported, where+" asks for a format that is not written here").
		fix("ask for application/fhir+json or application/fhir+xml, with fhirVersion=4.0 or without a version").
		spec("http://hl7.org/fhir/R4/http.html#mime-type")
}

// namedFormat reads a value of _format: json, xml, or a media type, in which a + that was
// not percent-encoded arrives as a blank. http://hl7.org/fhir/R4/http.html#parameters
func namedFormat(value string) (format, bool) {
	name, params, _ := strings.Cut(value, ";")
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "+")
	switch name {
	case "json":
		return inJSON, true
	case "xml":
		return inXML, true
	}
	mediaType, p, err := mime.ParseMediaType(name + ";" + params)
	if err != nil || !isR4(p) {
		return inJSON, false
	}
	return formatOf(mediaType)
}

// acceptedFormat is the format to which an Accept header gives the higher quality, JSON if
// it gives both the same, and none if it gives both zero. Each media type has the quality
// of the most specific range. https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
func acceptedFormat(accept string) (format, bool) {
	if strings.TrimSpace(accept) == "" {
		return inJSON, true
	}
	quality, specific := [len(formats)][4]float64{}, [len(formats)][4]int{}
	for _, text := range splitList(accept) {
		mediaRange, params, err := mime.ParseMediaType(text)
		if err != nil || !isR4(params) {
			continue
		}
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		for f, names := range formats {
			for i, name := range names {
				rank := 0
				switch mediaRange {
				case name:
					rank = 3
				case name[:strings.IndexByte(name, '/')] + "/*":
					rank = 2
				case "*/*", "*": // the old HttpURLConnection of Java sends *
					rank = 1
				}
				if rank > specific[f][i] {
					quality[f][i], specific[f][i] = q, rank
				} else if rank == specific[f][i] && rank > 0 {
					quality[f][i] = max(quality[f][i], q)
				}
			}
		}
	}
	asJSON, asXML := slices.Max(quality[inJSON][:]), slices.Max(quality[inXML][:])
	if asXML > asJSON {
		return inXML, true
	}
	return inJSON, asJSON > 0
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

// sends is the format of the body. One that is not said to be FHIR in UTF-8 is refused.
func (x *exchange) sends() (format, error) {
	mediaType, params, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	f, ok := formatOf(mediaType)
	if err != nil || !ok || !isR4(params) || !isUTF8(params) || !x.plain() {
		return inJSON, unsupportedMedia("the body must be FHIR, as JSON or XML", "send Content-Type: application/fhir+json or application/fhir+xml",
			"application/fhir+json, application/json, application/fhir+xml, application/xml")
	}
	return f, nil
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
