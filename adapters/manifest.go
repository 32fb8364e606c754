package adapters

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-playground/validator/v10"
	"go.yaml.in/yaml/v3"
)

// Manifest describes an adapter. It is the content of adapter.yaml in its folder.
type Manifest struct {
	Name        string `yaml:"name" validate:"required,slug"`
	Version     string `yaml:"version" validate:"required,semver"`
	Title       string `yaml:"title" validate:"required"`
	Description string `yaml:"description" validate:"required"`
	// Vendors and Devices are for people who look for theirs.
	Vendors []string `yaml:"vendors" validate:"required,dive,required"`
	Devices []string `yaml:"devices" validate:"required,dive,required"`
	// MediaTypes that a sender may state for such a payload.
	MediaTypes []string `yaml:"mediaTypes" validate:"required,dive,mime"`
	// Row is what the format calls one row: "OBX segment", "CSV line" …
	Row string `yaml:"row" validate:"required"`
	// Time tells where offsets come from, Patient where the patient comes from.
	Time    string `yaml:"time" validate:"required"`
	Patient string `yaml:"patient" validate:"required"`
	// Standards are the documents that the format follows, as URLs.
	Standards []string `yaml:"standards" validate:"dive,url"`
}

var (
	slug = regexp.MustCompile(`^[a-z][a-z0-9-]{1,40}$`)
	mime = regexp.MustCompile(`^[a-z-]+/[a-z0-9.+-]+$`)
)

// ParseManifest reads adapter.yaml. Unknown keys and missing parts are errors that
// name the key.
func ParseManifest(file []byte) (Manifest, error) {
	var m Manifest
	d := yaml.NewDecoder(bytes.NewReader(file))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("adapter.yaml: %w", err)
	}
	v := validator.New(validator.WithRequiredStructEnabled())
	for tag, re := range map[string]*regexp.Regexp{"slug": slug, "mime": mime} {
		if err := v.RegisterValidation(tag, func(f validator.FieldLevel) bool { return re.MatchString(f.Field().String()) }); err != nil {
			return m, fmt.Errorf("adapter.yaml: %w", err)
		}
	}
	err := v.Struct(m)
	if invalid, ok := errors.AsType[validator.ValidationErrors](err); ok {
		f := invalid[0]
		key := strings.TrimPrefix(f.Namespace(), "Manifest.")
		return m, fmt.Errorf("adapter.yaml: %s%s: want %s", strings.ToLower(key[:1]), key[1:], wanted[f.Tag()])
	}
	return m, err
}

var wanted = map[string]string{
	"required": "a value",
	"slug":     "lower-case letters, digits and dashes, as in acme-bp7",
	"semver":   "a version such as 1.0.0",
	"mime":     "a media type such as text/csv",
	"url":      "a URL",
}
