package mongo

import (
	"errors"
	"strings"
)

// defaultDatabase is the one that is used if the URI names none.
const defaultDatabase = "kiln"

// errURI tells what a URI looks like, and nothing of the one at hand: it may hold a password.
var errURI = errors.New("want mongodb://[user:password@]host[:port][,host…][/database][?options], or mongodb+srv://…; " +
	"a user or password with any of : / ? # [ ] @ % in it is percent-encoded")

// parts are what Kiln itself reads of a URI. All else is for the driver.
type parts struct {
	scheme, hosts, database, options string
	credentials                      bool
}

// parseURI takes a connection string apart as far as that is needed to name the database,
// and to show the rest without its password.
// https://www.mongodb.com/docs/manual/reference/connection-string/
func parseURI(uri string) (parts, error) {
	var p parts
	scheme, rest, found := strings.Cut(uri, "://")
	if !found || scheme != "mongodb" && scheme != "mongodb+srv" {
		return p, errURI
	}
	p.scheme = scheme
	rest, p.options, _ = strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		p.credentials, rest = true, rest[i+1:]
	}
	p.hosts, p.database, _ = strings.Cut(rest, "/")
	if p.hosts == "" || strings.ContainsAny(p.database, `/\. "$*<>:|`) || len(p.database) > 63 {
		return parts{}, errURI
	}
	if p.database == "" {
		p.database = defaultDatabase
	}
	return p, nil
}

// Redact is a connection string for people: scheme, hosts and database, without user,
// password and options. What is no connection string gives "mongodb:".
func Redact(uri string) string {
	p, err := parseURI(uri)
	if err != nil {
		return "mongodb:"
	}
	who := ""
	if p.credentials {
		who = "***@"
	}
	return p.scheme + "://" + who + p.hosts + "/" + p.database
}

// CheckURI reports whether a connection string has the form of one, without connecting
// to anything.
// Its error repeats nothing of it.
func CheckURI(uri string) error {
	p, err := parseURI(uri)
	if err != nil || p.scheme == "mongodb+srv" { // what it says is known to its name server only
		return err
	}
	_, err = clientOptions(uri)
	return err
}
