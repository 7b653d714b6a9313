package redstart

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/redstart-go/redstart/internal/endpoint"
)

// endpoint parses the URL. Username and Password replace those of the URL.
func (c Config) endpoint() (endpoint.Endpoint, error) {
	e, err := endpoint.Parse(c.URL)
	if err != nil {
		return endpoint.Endpoint{}, fieldError("URL", err.Error())
	}
	if c.Username != "" {
		e.Username = c.Username
	}
	if c.Password != "" {
		e.Password = c.Password
	}
	return e, nil
}

// tlsConfig reads the files and returns the TLS configuration of a valid Config, nil without TLS.
// It does not change Config.TLS.
func (c Config) tlsConfig() (*tls.Config, error) {
	e, err := c.endpoint()
	if err != nil || !e.TLS {
		return nil, err
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		t = c.TLS.Clone()
	}
	if c.TLSServerName != "" {
		t.ServerName = c.TLSServerName
	}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return nil, fieldError("TLSCAFile", fileError(c.TLSCAFile, err))
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fieldError("TLSCAFile", c.TLSCAFile+": contains no certificate in PEM form")
		}
	}
	if c.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			field, file := "TLSCertFile", c.TLSCertFile
			var path *fs.PathError
			if errors.As(err, &path) && path.Path == c.TLSKeyFile {
				field, file = "TLSKeyFile", c.TLSKeyFile
			}
			return nil, fieldError(field, fileError(file, err))
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func fileError(file string, err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return file + ": " + err.Error()
}

// maskedURL returns the URL in its normal form, with Username and without passwords.
func (c Config) maskedURL() string {
	e, err := c.withDefaults().endpoint()
	if err != nil {
		return "(unreadable URL)"
	}
	return e.String()
}

// String returns the URL and the other fields that are set. It hides the secrets.
func (c Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", c.maskedURL())
	for _, a := range c.attrs() {
		fmt.Fprintf(&b, " %s=%s", a.Key, a.Value)
	}
	return b.String()
}

// GoString returns the same text as String, so that %#v hides the secrets too.
func (c Config) GoString() string { return "redstart.Config{" + c.String() + "}" }

// LogValue returns the same fields as String, as attributes.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(append([]slog.Attr{slog.String("url", c.maskedURL())}, c.attrs()...)...)
}

// attrs returns the fields that are set, without the URL and the login.
func (c Config) attrs() []slog.Attr {
	d := c.withDefaults()
	attrs := []slog.Attr{
		slog.String("namespace", d.Namespace),
		slog.Int("pool_size", d.PoolSize),
		slog.Duration("command_timeout", d.CommandTimeout),
	}
	if d.Protocol != 0 {
		attrs = append(attrs, slog.Int("protocol", d.Protocol))
	}
	if d.Assume.Server != "" {
		attrs = append(attrs, slog.String("assumed_server", d.Assume.Server))
	}
	if d.ClientName != defaultClientName {
		attrs = append(attrs, slog.String("client_name", d.ClientName))
	}
	if d.Lazy {
		attrs = append(attrs, slog.Bool("lazy", true))
	}
	if d.Credentials != nil {
		attrs = append(attrs, slog.Bool("credentials_callback", true))
	}
	if d.Dialer != nil {
		attrs = append(attrs, slog.Bool("dialer", true))
	}
	for _, f := range []struct{ name, value string }{
		{"tls_ca_file", d.TLSCAFile}, {"tls_cert_file", d.TLSCertFile},
		{"tls_key_file", d.TLSKeyFile}, {"tls_server_name", d.TLSServerName},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.name, f.value))
		}
	}
	return attrs
}
