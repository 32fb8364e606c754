// Program generate writes essence.tsv, the table of package ucum, from ucum-essence.xml, the
// machine-readable form of the tables of UCUM (https://ucum.org/ucum#section-Tables-of-Terminal-Symbols).
// It runs in the folder of package ucum (go generate ./fhir/ucum) and reads
// fhir/ucum/ucum-essence.xml in the directory that KILN_SHARED names, or else in ../shared
// beside the module. The same input gives the same bytes.
//
// The table has a line for each prefix, base unit and unit, in the order of the source, with
// tabs between:
//
//	kind      prefix, base or unit
//	code      the case-sensitive code
//	names     with | between; the first is the one for display
//	symbol    in print, without markup
//	flags     metric, special, arbitrary; with spaces between
//	value     the number in the definition
//	unit      the unit in the definition
//	function  that a special unit applies
//
// Codes and definitions are taken as they are. The rest of the source (codes without case,
// properties, classes) is left out.
package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	shared := os.Getenv("KILN_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	essence, err := os.ReadFile(filepath.Join(shared, "fhir", "ucum", "ucum-essence.xml"))
	if err != nil {
		return err
	}
	table, err := generate(essence)
	if err != nil {
		return err
	}
	return os.WriteFile("essence.tsv", table, 0o644)
}

const header = `# UCUM %s of %s. Written by go generate from ucum-essence.xml: do not edit.
# Copyright 1999-2024 Regenstrief Institute, Inc. All rights reserved. Licensed under the UCUM
# License, Version 1.1, https://unitsofmeasure.org/license, on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See LICENSE-UCUM.
`

var columns = []string{"kind", "code", "names", "symbol", "flags", "value", "unit", "function"}

// generate is the table for the content of ucum-essence.xml.
func generate(essence []byte) ([]byte, error) {
	var root element
	d := xml.NewDecoder(bytes.NewReader(essence))
	d.CharsetReader = ascii
	if err := d.Decode(&root); err != nil {
		return nil, fmt.Errorf("ucum-essence.xml: %w", err)
	}

	var out bytes.Buffer
	fmt.Fprintf(&out, header, root.attribute("version"), root.attribute("revision-date"))
	out.WriteString(strings.Join(columns, "\t") + "\n")
	for _, e := range root.Children {
		row, err := e.row()
		if err != nil {
			return nil, fmt.Errorf("ucum-essence.xml: %s %q: %w", e.XMLName.Local, e.attribute("Code"), err)
		}
		if slices.ContainsFunc(row, func(field string) bool { return strings.ContainsAny(field, "\t\r\n") }) {
			return nil, fmt.Errorf("ucum-essence.xml: %s %q: a tab or line break in a field", e.XMLName.Local, e.attribute("Code"))
		}
		out.WriteString(strings.Join(row, "\t") + "\n")
	}
	return out.Bytes(), nil
}

// ascii reads the encoding that the source declares, which is part of UTF-8.
func ascii(charset string, r io.Reader) (io.Reader, error) {
	if !strings.EqualFold(charset, "ascii") {
		return nil, fmt.Errorf("encoding %s, want ascii", charset)
	}
	return r, nil
}

// element is any element of the source: a few attributes, and text with markup in it.
type element struct {
	XMLName    xml.Name
	Attributes []xml.Attr `xml:",any,attr"`
	Children   []element  `xml:",any"`
	Content    string     `xml:",innerxml"`
}

func (e element) attribute(name string) string {
	for _, a := range e.Attributes {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e element) children(name string) []element {
	var found []element
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			found = append(found, c)
		}
	}
	return found
}

var (
	markup      = regexp.MustCompile(`<[^>]*>`)
	indentation = regexp.MustCompile(`\s*\n\s*`)
)

// text is the content without markup and without the line breaks that lay it out.
func (e element) text() (string, error) {
	plain := indentation.ReplaceAllString(markup.ReplaceAllString(e.Content, ""), "")
	var s string
	if err := xml.Unmarshal([]byte("<t>"+plain+"</t>"), &s); err != nil {
		return "", err
	}
	return strings.ReplaceAll(s, "\u00a0", " "), nil
}

func (e element) row() ([]string, error) {
	kinds := map[string]string{"prefix": "prefix", "base-unit": "base", "unit": "unit"}
	kind := kinds[e.XMLName.Local]
	if kind == "" {
		return nil, errors.New("unknown element")
	}
	code := e.attribute("Code")
	if code == "" {
		return nil, errors.New("no code")
	}

	var names []string
	for _, n := range e.children("name") {
		name, err := n.text()
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New("no name")
	}
	symbol := ""
	for _, s := range e.children("printSymbol") {
		var err error
		if symbol, err = s.text(); err != nil {
			return nil, err
		}
	}

	var flags []string
	for _, flag := range []string{"metric", "special", "arbitrary"} {
		if e.attribute("is"+strings.ToUpper(flag[:1])+flag[1:]) == "yes" {
			flags = append(flags, flag)
		}
	}
	if kind == "base" {
		flags = []string{"metric"} // https://ucum.org/ucum#section-The-Predicate-Metric, 3
	}

	value, unit, function, err := e.definition()
	if err != nil {
		return nil, err
	}
	return []string{kind, code, strings.Join(names, "|"), symbol, strings.Join(flags, " "), value, unit, function}, nil
}

// definition is what the value element says; a base unit has none.
func (e element) definition() (value, unit, function string, err error) {
	definitions := e.children("value")
	if e.XMLName.Local == "base-unit" {
		if len(definitions) != 0 {
			return "", "", "", errors.New("a base unit with a definition")
		}
		return "", "", "", nil
	}
	if len(definitions) != 1 {
		return "", "", "", fmt.Errorf("%d definitions, want 1", len(definitions))
	}
	d := definitions[0]
	if functions := d.children("function"); len(functions) == 1 {
		d = functions[0]
		function = d.attribute("name")
	}
	value, unit = d.attribute("value"), d.attribute("Unit")
	if _, ok := new(big.Rat).SetString(value); !ok {
		return "", "", "", fmt.Errorf("value %q is no number", value)
	}
	if unit == "" && e.XMLName.Local == "unit" {
		return "", "", "", errors.New("no unit in the definition")
	}
	if special := e.attribute("isSpecial") == "yes"; special != (function != "") {
		return "", "", "", errors.New("a special unit has a function, and others have none")
	}
	return value, unit, function, nil
}
