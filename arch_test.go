// Package kiln guards the structure of the module: it has no code, only this test.
package kiln

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kiln-health/kiln"

// mayImport says for each package of the module which others of it its code may import.
// A pattern ending in /* covers the packages below, * in it stands for one name. A new
// package needs a line here: if nobody can say who may import it, it is not one.
var mayImport = map[string][]string{
	"fhir":                             {},
	"fhir/fhirtest":                    {},
	"fhir/vocabulary":                  {"fhir"},
	"fhir/search":                      {"fhir", "fhir/definitions", "fhir/ucum"},
	"fhir/stats":                       {},
	"fhir/ucum":                        {},
	"fhir/ucum/generate":               {},
	"fhir/definitions":                 {},
	"fhir/definitions/generate":        {"fhir/definitions"},
	"fhir/fhirpath":                    {"fhir", "fhir/definitions"},
	"fhir/validate":                    {"fhir", "fhir/definitions", "fhir/fhirpath", "fhir/ucum", "fhir/vocabulary"},
	"fhir/xmlformat":                   {"fhir", "fhir/definitions"},
	"fhir/patch":                       {"fhir", "fhir/definitions"},
	"fhir/rest":                        {"fhir", "fhir/definitions", "fhir/patch", "fhir/search", "fhir/stats", "fhir/ucum", "fhir/validate", "fhir/xmlformat", "store"},
	"adapters":                         {"fhir"},
	"adapters/when":                    {"fhir"},
	"adapters/format/*":                {}, // parsers of foreign bytes know no FHIR
	"adapters/adaptertest":             {"adapters", "adapters/when", "fhir", "fhir/fhirtest", "fhir/validate"},
	"adapters/ingest":                  {"adapters", "adapters/when", "fhir", "fhir/search", "store"},
	"adapters/all":                     {"adapters", family},
	family:                             {"adapters", "adapters/format/*", "adapters/when", "fhir", "fhir/vocabulary"},
	"store":                            {"fhir", "fhir/search"},
	"store/storetest":                  {"fhir", "fhir/search", "store"},
	"store/claim":                      {"fhir", "fhir/search", "store"},
	"store/embedded":                   {"fhir", "fhir/search", "store", "store/claim"},
	"store/ndjson":                     {"fhir", "store"},
	"store/mongo":                      {"fhir", "fhir/search", "store", "store/claim", "store/mongo/layout"},
	"store/mongo/layout":               {"fhir", "fhir/search", "store"},
	"store/mongo/mongotest":            {}, // a module of its own, so that the product does not require what it does
	"store/mongo/mongotest/mongofake":  {"store/mongo/mongotest"},
	"store/mongo/mongotest/withmongod": {"store/mongo/mongotest"},
	"cmd":                              {"adapters", "adapters/ingest", "adapters/when", "fhir", "fhir/rest", "fhir/search", "fhir/validate", "store", "store/embedded", "store/mongo", "store/ndjson"},
	"cmd/kiln":                         {"adapters/all", "cmd"},
}

// family stands for every adapter: a folder of adapters that is not named above.
const family = "adapters/<family>"

// onlyIn says which packages may import a library, and why.
var onlyIn = []struct {
	library string
	allowed []string
	why     string
}{
	{"github.com/gin-gonic/gin", []string{"fhir/rest", "adapters/ingest"}, "HTTP is at the edges"},
	{"github.com/cockroachdb/pebble", []string{"store/embedded"}, "the engine of one store is nobody else's business"},
	{"go.mongodb.org/mongo-driver", []string{"store/mongo", "store/mongo/layout", "store/mongo/mongotest"}, "the driver of one store is nobody else's business"},
	{"github.com/go-playground/validator", []string{"cmd", "adapters"}, "it checks configuration and manifests"},
	{"github.com/google/fhir/go/jsonformat", []string{"adapters/adaptertest", "cmd"}, "it is slow and links every resource: for tests, and for kiln validate --with google, in a build of its own"},
	{"github.com/google/fhir/go/proto", []string{"fhir", "fhir/vocabulary", "adapters", "adapters/when", "adapters/ingest", family}, "the typed model is for those who build resources"},
	{"github.com/gofhir", []string{"fhir/fhirpath"}, "an engine of FHIRPath is young, and prints what it traces: one package knows it"},
	{"github.com/antlr4-go", []string{"fhir/fhirpath"}, "it is the parser of that engine"},
	{"github.com/spf13/cobra", []string{"cmd"}, "the command line is cmd's"},
	{"testing", []string{"fhir/fhirtest", "adapters/adaptertest", "store/mongo/mongotest", "store/storetest"}, "only published tests know the testing package"},
}

type source struct {
	file, pkg string
	test      bool
	syntax    *ast.File
	position  *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "third_party") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(file), path.Dir(filepath.ToSlash(file)), strings.HasSuffix(name, "_test.go"), syntax, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rule is the line of mayImport that a package falls under.
func rule(pkg string) string {
	if _, ok := mayImport[pkg]; ok {
		return pkg
	}
	if parent := path.Dir(pkg) + "/*"; mayImport[parent] != nil {
		return parent
	}
	if path.Dir(pkg) == "adapters" {
		return family
	}
	return ""
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.pkg == "." {
			continue
		}
		line := rule(s.pkg)
		if line == "" {
			t.Errorf("%s: package %s has no line in mayImport", s.file, s.pkg)
			continue
		}
		for _, i := range s.syntax.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			at := s.position.Position(i.Pos())
			if ours, ok := strings.CutPrefix(name, module+"/"); ok && !slices.Contains(mayImport[line], rule(ours)) {
				t.Errorf("%s: %s must not import %s", at, s.pkg, ours)
			}
			for _, o := range onlyIn {
				if (name == o.library || strings.HasPrefix(name, o.library+"/")) && !slices.Contains(o.allowed, line) {
					t.Errorf("%s: %s must not import %s: %s", at, s.pkg, name, o.why)
				}
			}
		}
	}
}

func TestEveryPackageIsDocumentedWhereItsNameSays(t *testing.T) {
	documented := map[string]string{}
	packages, commands := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		packages[s.pkg] = true
		commands[s.pkg] = s.syntax.Name.Name == "main"
		if doc := s.syntax.Doc.Text(); doc != "" {
			if first := documented[s.pkg]; first != "" {
				t.Errorf("package %s is documented twice: in %s and in %s", s.pkg, first, s.file)
			}
			documented[s.pkg] = s.file
			if name := s.syntax.Name.Name; name != "main" && !strings.HasPrefix(doc, "Package "+name+" ") {
				t.Errorf("%s: the package comment must begin with %q", s.file, "Package "+name)
			}
		}
	}
	for pkg := range packages {
		if documented[pkg] == "" {
			t.Errorf("package %s has no package comment", pkg)
			continue
		}
		if want := path.Base(pkg) + ".go"; path.Base(documented[pkg]) != want && !commands[pkg] {
			t.Errorf("package %s is documented in %s; its comment belongs in %s", pkg, documented[pkg], want)
		}
	}
}

func TestPackagesHaveAnIdea(t *testing.T) {
	for _, s := range sources(t) {
		switch name := path.Base(s.pkg); name {
		case "util", "utils", "helper", "helpers", "common", "manager", "base", "core", "misc", "shared", "service", "repository", "dto", "pkg":
			t.Errorf("%s: a package called %s says nothing about what it holds", s.file, name)
		}
	}
}

func TestClocksComeInAsArguments(t *testing.T) {
	edges := []string{"cmd", "adapters/ingest", "fhir/rest", "store/embedded", "store/mongo", "store/mongo/mongotest", "store/storetest"}
	for _, s := range sources(t) {
		if s.test || slices.Contains(edges, s.pkg) {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := call.X.(*ast.Ident); ok && x.Name == "time" && (call.Sel.Name == "Now" || call.Sel.Name == "Since" || call.Sel.Name == "Local") {
				t.Errorf("%s: time.%s: clocks and zones come in as arguments", s.position.Position(call.Pos()), call.Sel.Name)
			}
			return true
		})
	}
}

// mayPanic are the files that call panic, and why.
var mayPanic = map[string]string{
	"fhir/rest/watch.go":       "passes http.ErrAbortHandler on to net/http, whose signal it is",
	"store/embedded/logger.go": "Pebble's Fatalf must not return; the default of Options.Fatal",
}

func TestNothingPanicsAndNothingStartsByItself(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "panic" && mayPanic[s.file] == "" {
					t.Errorf("%s: panic", s.position.Position(n.Pos()))
				}
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init", s.position.Position(n.Pos()))
				}
			}
			return true
		})
	}
}
