// Generate writes the tables of package definitions from the published definitions of
// FHIR R4, US Core 6.1.0 and the two device guides of IHE and Continua (PHD, PoCD).
//
// It reads the reference material in the directory that KILN_SHARED names, or in
// ../shared beside the project (see fhir/r4, fhir/us-core, fhir/phd and fhir/pocd there),
// and takes facts from it only: names, cardinalities, types, codes, expressions. No
// narrative and no display text goes into the tables, with one exception: the sentence
// that says what an invariant demands.
//
//	go generate ./fhir/definitions
//
// The same material always gives the same tables, byte for byte before compression.
package main

import (
	"bytes"
	"compress/flate"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("generate: ")
	shared := os.Getenv("KILN_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	from := flag.String("from", filepath.Join(shared, "fhir"), "the directory that holds r4, us-core, phd and pocd")
	to := flag.String("to", "tables", "the directory to write the tables into")
	flag.Parse()
	tables, err := build(*from)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range sortedKeys(tables) {
		packed, err := compress(tables[name])
		if err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*to, name+".flate"), packed, 0o644); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-12s %8d bytes, %7d compressed\n", name, len(tables[name]), len(packed))
	}
}

// build returns the tables by name, not yet compressed.
func build(from string) (map[string][]byte, error) {
	m, err := load(from)
	if err != nil {
		return nil, err
	}
	for _, guide := range guides {
		if err := m.buildSnapshots(guide); err != nil {
			return nil, err
		}
	}
	tables := map[string][]byte{}
	rules := m.invariants()
	tables["invariants"] = writeInvariants(rules)
	tables["index"] = writeIndex(m)
	for _, guide := range guides {
		table, err := writeStructures(m.of(guide), rules)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", guide.table, err)
		}
		tables[guide.table] = table
	}
	tables["valuesets"] = writeValueSets(m.valueSets())
	hierarchies, err := writeHierarchies(m.hierarchies())
	if err != nil {
		return nil, err
	}
	tables["hierarchies"] = hierarchies
	search, err := m.searchParameters(from)
	if err != nil {
		return nil, err
	}
	compartments, err := m.compartments(from)
	if err != nil {
		return nil, err
	}
	tables["search"] = writeSearch(search, compartments)
	return tables, nil
}

func compress(table []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(table); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
