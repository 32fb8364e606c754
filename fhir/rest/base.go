package rest

import (
	"net/http"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// base is the external URL of the API for this request, without a slash at the end.
func (s *server) base(r *http.Request) (string, error) {
	if s.BaseURL != "" {
		return s.BaseURL, nil
	}
	scheme, host, prefix := "http", r.Host, ""
	if r.TLS != nil {
		scheme = "https"
	}
	if s.Proxy == BehindProxy {
		scheme, host, prefix = forwarded(r.Header, scheme, host)
	}
	if scheme != "http" && scheme != "https" || !validHost(host) || !validPrefix(prefix) {
		return "", refuse(http.StatusBadRequest, fhir.CodeInvalid, "the request does not say which host it is for, so no link can be written").
			fix("send a Host header with a host name; behind a proxy, mend its X-Forwarded-* headers or configure the base URL")
	}
	return scheme + "://" + host + prefix + "/fhir", nil
}

// forwarded is what the proxy that met the client says of the request: Forwarded, else
// X-Forwarded-*. https://www.rfc-editor.org/rfc/rfc7239#section-4
func forwarded(h http.Header, scheme, host string) (string, string, string) {
	if f := h.Get("Forwarded"); f != "" {
		for part := range strings.SplitSeq(splitList(f)[0], ";") {
			name, value, _ := strings.Cut(part, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "proto":
				scheme = strings.ToLower(value)
			case "host":
				host = value
			}
		}
		return scheme, host, ""
	}
	if v := firstOf(h, "X-Forwarded-Proto"); v != "" {
		scheme = strings.ToLower(v)
	}
	if v := firstOf(h, "X-Forwarded-Host"); v != "" {
		host = v
	}
	if port := firstOf(h, "X-Forwarded-Port"); port != "" && !hasPort(host) &&
		!(scheme == "http" && port == "80" || scheme == "https" && port == "443") {
		host += ":" + port
	}
	return scheme, host, strings.TrimRight(firstOf(h, "X-Forwarded-Prefix"), "/")
}

func firstOf(h http.Header, name string) string { return splitList(h.Get(name))[0] }

// hasPort knows that the colons of [::1] are none of a port.
func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}

func validHost(host string) bool {
	return host != "" && len(host) <= 261 && only(host, "-._:[]")
}

func validPrefix(prefix string) bool {
	return prefix == "" || len(prefix) <= 256 && prefix[0] == '/' && only(prefix, "-._~/")
}

// only reports whether s is made of letters and digits of ASCII and of the others.
func only(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(others, c) >= 0:
		default:
			return false
		}
	}
	return true
}
