package cmd

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-playground/validator/v10"
	"go.yaml.in/yaml/v3"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/store/mongo"
)

// sampleConfig is the commented configuration with every key and its default. The
// defaults are read from it, so that it cannot disagree with them.
//
//go:embed config.yaml
var sampleConfig []byte

// Config is everything that can be configured. See config.yaml for what the keys mean.
type Config struct {
	Listen            string                  `yaml:"listen" validate:"required,hostname_port"`
	Insecure          bool                    `yaml:"insecure"`
	Store             string                  `yaml:"store" validate:"required,store"`
	BaseURL           string                  `yaml:"baseURL" validate:"omitempty,http_url"`
	Handling          string                  `yaml:"handling" validate:"oneof=lenient strict"`
	Validation        string                  `yaml:"validation" validate:"oneof=profiles invariants structure nothing"`
	DeviceRules       string                  `yaml:"deviceRules" validate:"oneof=warn error off"`
	ConditionalDelete string                  `yaml:"conditionalDelete" validate:"oneof=single multiple"`
	CORS              []string                `yaml:"cors" validate:"dive,origin"`
	Limits            LimitsConfig            `yaml:"limits"`
	Log               LogConfig               `yaml:"log"`
	Sources           map[string]SourceConfig `yaml:"sources" validate:"dive"`
}

// LimitsConfig are the largest bodies that are read.
type LimitsConfig struct {
	Resource Size `yaml:"resource" validate:"min=1024,max=268435456"`
	Payload  Size `yaml:"payload" validate:"min=1024,max=1073741824"`
}

// LogConfig says what is logged and how.
type LogConfig struct {
	Level  string `yaml:"level" validate:"oneof=debug info warn error"`
	Format string `yaml:"format" validate:"oneof=text json"`
}

// SourceConfig is what the site knows of one sender.
type SourceConfig struct {
	Zone          string            `yaml:"zone" validate:"omitempty,zone"`
	Patient       string            `yaml:"patient" validate:"omitempty,identifier"`
	Patients      map[string]string `yaml:"patients" validate:"dive,identifier"`
	PatientSystem string            `yaml:"patientSystem" validate:"omitempty,uri"`
}

// Size is a number of bytes, written 65536, 64KiB or 4MiB.
type Size int64

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	number, unit := n.Value, int64(1)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if cut, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = strings.TrimSpace(cut), bytes
		}
	}
	v, err := strconv.ParseInt(number, 10, 32)
	if err != nil || v < 0 {
		return &configError{Line: n.Line, Column: n.Column, What: "this is no size", Fix: "write a number of bytes, as 65536, 64KiB or 4MiB"}
	}
	*s = Size(v * unit)
	return nil
}

// configError is a fault of a configuration file with its place.
type configError frame

func (e *configError) Error() string { return frame(*e).String() }

// loadConfig is the defaults with the file over them, and the environment over that; file may
// be "". Unknown keys and wrong values are a *configError.
func loadConfig(file string) (*Config, error) {
	c := &Config{}
	if err := decodeConfig(sampleConfig, c); err != nil {
		return nil, fmt.Errorf("the built-in defaults: %w", err)
	}
	if file != "" {
		if err := readFile(file, c); err != nil {
			return nil, err
		}
	}
	if name := os.Getenv(storeVariable); name != "" {
		if _, _, err := parseStore(name); err != nil {
			return nil, fmt.Errorf("the environment variable %s: %w", storeVariable, err)
		}
		c.Store = name
	}
	return c, nil
}

func readFile(file string, c *Config) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := decodeConfig(content, c); err != nil {
		if e, ok := errors.AsType[*configError](err); ok {
			e.File = file
			if lines := strings.Split(string(content), "\n"); e.Line >= 1 && e.Line <= len(lines) {
				e.Text = redacted(strings.TrimRight(lines[e.Line-1], "\r"))
			}
		}
		return err
	}
	return nil
}

func decodeConfig(content []byte, c *Config) error {
	var root yaml.Node
	if err := yaml.Unmarshal(content, &root); err != nil {
		return syntaxError(err)
	}
	if len(root.Content) == 0 {
		return nil
	}
	if err := unknownKeys(root.Content[0], reflect.TypeOf(*c), ""); err != nil {
		return err
	}
	if err := root.Content[0].Decode(c); err != nil {
		if e, ok := errors.AsType[*configError](err); ok {
			return e
		}
		return syntaxError(err)
	}
	return validateConfig(c, root.Content[0])
}

// syntaxError takes the line out of yaml's "yaml: line 3: …".
func syntaxError(err error) error {
	what := redacted(strings.TrimPrefix(err.Error(), "yaml: "))
	e := &configError{What: what, Line: 1, Column: 1, Fix: "compare it with the output of `kiln config`"}
	if i := strings.Index(what, "line "); i >= 0 {
		number, rest, _ := strings.Cut(what[i+len("line "):], ":")
		if line, err := strconv.Atoi(number); err == nil {
			e.Line, e.What = line, strings.TrimSpace(rest)
		}
	}
	return e
}

// unknownKeys finds the first key that t does not have.
func unknownKeys(n *yaml.Node, t reflect.Type, path string) error {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if t.Kind() == reflect.Map {
			if t.Elem().Kind() == reflect.Struct {
				if err := unknownKeys(value, t.Elem(), path+key.Value+"."); err != nil {
					return err
				}
			}
			continue
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		var known []string
		var field reflect.Type
		for j := range t.NumField() {
			name := t.Field(j).Tag.Get("yaml")
			known = append(known, name)
			if name == key.Value {
				field = t.Field(j).Type
			}
		}
		if field == nil {
			return &configError{Line: key.Line, Column: key.Column, At: path + key.Value,
				What: fmt.Sprintf("there is no key %q", key.Value), Fix: fmt.Sprintf("did you mean %q? Keys here: %s", nearest(key.Value, known), strings.Join(known, ", "))}
		}
		if err := unknownKeys(value, field, path+key.Value+"."); err != nil {
			return err
		}
	}
	return nil
}

// wantedValue says what a validation rule asks for.
var wantedValue = map[string]string{
	"required":      "give it a value",
	"hostname_port": "write host:port, as in 127.0.0.1:8080",
	"http_url":      "write a URL, as in https://ehr.example/fhir",
	"store":         "write embedded:DIRECTORY, mongodb://HOST/DATABASE, or memory:",
	"zone":          "write an IANA zone such as Europe/Berlin, or an offset such as +02:00",
	"identifier":    "write system|value, as in http://hospital.example/mrn|4711",
	"origin":        "write scheme://host without a path, as in https://app.example, or * for any",
	"uri":           "write a URI, as in urn:oid:1.2.3 or http://hospital.example/mrn",
	"min":           "raise it",
	"max":           "lower it",
}

func validateConfig(c *Config, root *yaml.Node) error {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("yaml") })
	for tag, ok := range map[string]func(string) bool{
		"store":      func(s string) bool { _, _, err := parseStore(s); return err == nil },
		"zone":       func(s string) bool { _, err := when.ParseZone(s); return err == nil },
		"origin":     isOrigin,
		"identifier": func(s string) bool { _, err := fhir.ParseIdentifier(s); return err == nil },
	} {
		if err := v.RegisterValidation(tag, func(f validator.FieldLevel) bool { return ok(f.Field().String()) }); err != nil {
			return err
		}
	}
	err := v.Struct(c)
	invalid, ok := errors.AsType[validator.ValidationErrors](err)
	if !ok {
		return err
	}
	f := invalid[0]
	path := strings.TrimPrefix(f.Namespace(), "Config.")
	place := find(root, path)
	fix := wantedValue[f.Tag()]
	if f.Tag() == "oneof" {
		fix = "use one of " + strings.ReplaceAll(f.Param(), " ", ", ")
	}
	return &configError{Line: place.Line, Column: place.Column, At: path, What: "the value is not allowed", Fix: fix}
}

// isOrigin reports whether s is what browsers send as Origin, or * for any.
// https://www.rfc-editor.org/rfc/rfc6454#section-7
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return s == "*" || err == nil && u.Host != "" && s == strings.ToLower(u.Scheme+"://"+u.Host)
}

// find is the node at a path as validator writes it: sources[ward-3].zone.
func find(n *yaml.Node, path string) *yaml.Node {
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if i, err := strconv.Atoi(name); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
			continue
		}
		i := slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == name })
		if n.Kind != yaml.MappingNode || i < 0 || i+1 >= len(n.Content) {
			return n
		}
		n = n.Content[i+1]
	}
	return n
}

// nearest is the known word with the fewest edits to s.
func nearest(s string, known []string) string {
	best, least := "", int(^uint(0)>>1)
	for _, k := range known {
		if d := edits(strings.ToLower(s), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// storeForms are the ways to name a store.
const storeForms = "want embedded:DIRECTORY, mongodb://[user:password@]host[,host…]/database[?options], or memory: for nothing kept"

// parseStore splits embedded:DIRECTORY or memory:. Of mongodb:// and mongodb+srv:// it gives the
// whole connection string as where the store is. Its errors repeat nothing of it.
func parseStore(s string) (kind, where string, err error) {
	kind, where, _ = strings.Cut(s, ":")
	switch {
	case kind == "embedded" && where != "", kind == "memory" && where == "":
		return kind, where, nil
	case kind == "mongodb", kind == "mongodb+srv":
		if err := mongo.CheckURI(s); err != nil {
			return "", "", err
		}
		return "mongodb", s, nil
	default:
		return "", "", errors.New(storeForms)
	}
}

// shownStore is the name of a store for people: without user, password and options.
func shownStore(s string) string {
	if strings.HasPrefix(s, "mongodb") {
		return mongo.Redact(s)
	}
	return s
}

// secret is what stands before the host in a connection string.
var secret = regexp.MustCompile(`(mongodb(?:\+srv)?://).*@`)

// redacted is a line of a file without the password of a connection string.
func redacted(line string) string { return secret.ReplaceAllString(line, "${1}***@") }

// storeVariable is the environment variable that names the store in place of the file: for a
// password that is to be in neither a file nor a command line.
const storeVariable = "KILN_STORE"

// loopback reports whether an address to listen at is reachable from this machine only.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sources resolves the configured sources, which were validated.
func (c *Config) sources() (map[string]adapters.Source, error) {
	out := make(map[string]adapters.Source, len(c.Sources))
	for name, s := range c.Sources {
		source := adapters.Source{Name: name, PatientSystem: s.PatientSystem}
		var err error
		if s.Zone != "" {
			if source.Zone, err = when.ParseZone(s.Zone); err != nil {
				return nil, fmt.Errorf("sources.%s.zone: %w", name, err)
			}
		}
		if s.Patient != "" {
			if source.Patient, err = fhir.ParseIdentifier(s.Patient); err != nil {
				return nil, fmt.Errorf("sources.%s.patient: %w", name, err)
			}
		}
		for id, text := range s.Patients {
			patient, err := fhir.ParseIdentifier(text)
			if err != nil {
				return nil, fmt.Errorf("sources.%s.patients: %w", name, err)
			}
			if source.Patients == nil {
				source.Patients = map[string]fhir.Identifier{}
			}
			source.Patients[id] = patient
		}
		out[name] = source
	}
	return out, nil
}
