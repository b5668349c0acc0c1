package export

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// environment looks variables up. Those of exporters come in two forms; the
// one for traces goes first.
type environment func(name string) string

const otlpVariable = "OTEL_EXPORTER_OTLP_"

func (env environment) exporter(name string) (variable, value string) {
	for _, variable := range []string{otlpVariable + "TRACES_" + name, otlpVariable + name} {
		if v := strings.TrimSpace(env(variable)); v != "" {
			return variable, v
		}
	}
	return "", ""
}

// endpoint returns the address of traces as it is, or the one that all signals have in common.
func (env environment) endpoint() (whole, general string, err error) {
	if variable, protocol := env.exporter("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return "", "", fmt.Errorf("%s is %q, but this exporter speaks http/protobuf; name the receiver's HTTP endpoint in the configuration, such as http://127.0.0.1:4318", variable, protocol)
	}
	return strings.TrimSpace(env(otlpVariable + "TRACES_ENDPOINT")), strings.TrimSpace(env(otlpVariable + "ENDPOINT")), nil
}

// headers adds the environment's header fields to those that are configured.
func (env environment) headers(h http.Header) error {
	variable, list := env.exporter("HEADERS")
	pairs, err := readPairs(variable, list)
	for k, v := range pairs {
		if h.Get(k) == "" {
			h.Set(k, v)
		}
	}
	return err
}

// readPairs reads key=value,… with values in percent encoding.
func readPairs(variable, list string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		k = strings.TrimSpace(k)
		value, err := url.PathUnescape(strings.TrimSpace(v))
		if !ok || k == "" || err != nil {
			return nil, fmt.Errorf("%s is not a list of key=value", variable) // without the value: it may be a secret
		}
		out[k] = value
	}
	return out, nil
}

func (env environment) timeout() (time.Duration, error) {
	variable, v := env.exporter("TIMEOUT")
	if v == "" {
		return 10 * time.Second, nil
	}
	ms, err := strconv.Atoi(v)
	if err != nil || ms <= 0 {
		return 0, fmt.Errorf("%s is %q; want milliseconds", variable, v)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func (env environment) compression() (bool, error) {
	variable, v := env.exporter("COMPRESSION")
	switch v {
	case "", "gzip":
		return true, nil
	case "none":
		return false, nil
	}
	return false, fmt.Errorf("%s is %q; want gzip or none", variable, v)
}

func (env environment) tls() (*tls.Config, error) {
	caVariable, ca := env.exporter("CERTIFICATE")
	certVariable, cert := env.exporter("CLIENT_CERTIFICATE")
	_, key := env.exporter("CLIENT_KEY")
	if ca == "" && cert == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", caVariable, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: there is no certificate in %s", caVariable, ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", certVariable, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// semconv is what OTEL_SEMCONV_STABILITY_OPT_IN asks for.
func (env environment) semconv() string {
	for v := range strings.SplitSeq(env("OTEL_SEMCONV_STABILITY_OPT_IN"), ",") {
		switch strings.TrimSpace(v) {
		case "gen_ai_latest_experimental":
			return namesLatest
		case "gen_ai_latest_experimental/dup":
			return namesBoth
		}
	}
	return namesLatest
}

func (env environment) content() bool {
	switch strings.ToLower(strings.TrimSpace(env("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"))) {
	case "true", "span_only", "span_and_event":
		return true
	}
	return false
}

func (env environment) disabled() bool {
	return strings.EqualFold(strings.TrimSpace(env("OTEL_SDK_DISABLED")), "true")
}

func (env environment) resource() (*resourcepb.Resource, error) {
	const variable = "OTEL_RESOURCE_ATTRIBUTES"
	pairs, err := readPairs(variable, env(variable))
	if err != nil {
		return nil, err
	}
	if name := env("OTEL_SERVICE_NAME"); name != "" {
		pairs["service.name"] = name
	}
	if pairs["service.name"] == "" {
		pairs["service.name"] = "frontier"
	}
	var a attributes
	for _, k := range sorted(pairs) {
		a.text(k, pairs[k])
	}
	return &resourcepb.Resource{Attributes: a}, nil
}
