package rest

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsSends   = "Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Exist, If-None-Match, Prefer, X-Request-Id"
	corsReads   = "Content-Location, ETag, Last-Modified, Link, Location, Preference-Applied, Retry-After, X-Request-Id"
)

// cors lets pages of the allowed origins use the API from a browser. Cookies are not
// allowed: an origin brings its authorization in a header.
// https://fetch.spec.whatwg.org/#http-cors-protocol
func (s *server) cors(c *gin.Context) {
	if len(s.CORS) == 0 {
		return
	}
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	origin := c.GetHeader("Origin")
	anyone := slices.Contains(s.CORS, "*")
	if origin == "" || !anyone && !slices.Contains(s.CORS, origin) {
		return
	}
	if anyone {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsReads)
	if c.Request.Method != http.MethodOptions || c.GetHeader("Access-Control-Request-Method") == "" {
		return
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsSends)
	h.Set("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
}
