package withings

import "github.com/kiln-health/kiln/fhir"

// statusError says what an answer with a status other than 0 means.
// https://developer.withings.com/api-reference/#section/Response-status
func statusError(status integer) *fhir.Error {
	if status.state != given {
		return fhir.Errorf(fhir.CodeStructure, "/status", "the status of the answer is not an integer").
			WithFix(asItCame)
	}
	code, meaning, fix := fhir.CodeException, "a failure", "look the number up in the vendor's list, mend the request and fetch again"
	switch status.n {
	case 100, 101, 102, 200, 401:
		meaning, fix = "the access token is missing, wrong or expired", "refresh the access token and fetch again"
	case 214, 277, 2553, 2554:
		meaning, fix = "the application may not do this", "ask the user for the scope user.metrics and fetch again"
	case 503:
		meaning, fix = "a parameter of the request is wrong", "mend the request and fetch again"
	case 522:
		code, meaning, fix = fhir.CodeTransient, "a timeout", "fetch again later"
	case 601:
		code, meaning, fix = fhir.CodeTransient, "too many requests", "wait, then fetch again"
	case 2555:
		meaning, fix = "an unknown error", "check that the application may read measures, and fetch again"
	}
	return fhir.Errorf(code, "/status", "the API answered status %d (%s): this is no measurement, and not their absence", status.n, meaning).
		WithFix(fix).WithSpec("https://developer.withings.com/api-reference/#section/Response-status")
}
