package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TLSFiles has the paths of a generated certificate authority and of the certificates that it has
// signed.
type TLSFiles struct {
	CA                    string // certificate
	ServerCert, ServerKey string // for 127.0.0.1 and localhost
	ClientCert, ClientKey string // for client authentication
}

// Config returns the configuration of a client that trusts CA and has the client certificate.
func (f *TLSFiles) Config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.ClientCert, f.ClientKey)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, nil
}

// TLS starts a server for this test that accepts only TLS and requires a client certificate.
// [Server.TLS] returns its files. The args are directives, like the args of [Standalone], for
// example "--tls-auth-clients", "no".
func TLS(t testing.TB, args ...string) *Server {
	t.Helper()
	Need(t, TierAll)
	s, err := startTLS(t, args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TLS returns the files of a server that accepts only TLS, and nil for others.
func (s *Server) TLS() *TLSFiles { return s.tls }

const tlsConfig = baseConfig + `port 0
tls-port {port}
tls-cert-file {dir}/server.pem
tls-key-file {dir}/server.key
tls-ca-cert-file {dir}/ca.pem
tls-auth-clients yes
`

func startTLS(t testing.TB, args []string) (*Server, error) {
	s, err := newServer(t, "tls", "redis-server", tlsConfig, args...)
	if err != nil {
		return nil, err
	}
	if s.tls, err = NewTLSFiles(s.dir); err != nil {
		return nil, err
	}
	return s, s.first()
}

// tlsOnly returns the configuration of a server that accepts only TLS, for a config with the line
// "port {port}". The server also uses TLS towards other servers, with the certificate of a client.
func tlsOnly(config string, files *TLSFiles) string {
	listen := fmt.Sprintf("port 0\ntls-port {port}\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\n"+
		"tls-client-cert-file %s\ntls-client-key-file %s\ntls-auth-clients yes\ntls-replication yes\n",
		files.ServerCert, files.ServerKey, files.CA, files.ClientCert, files.ClientKey)
	return strings.Replace(config, "port {port}\n", listen, 1)
}

// sharedTLSFiles creates the files of several servers that trust each other.
func sharedTLSFiles() (*TLSFiles, error) {
	dir, err := process.serverDir("tls-files")
	if err != nil {
		return nil, err
	}
	return NewTLSFiles(dir)
}

// NewTLSFiles creates an authority and two certificates in dir. A server refuses the certificates
// of a second authority.
func NewTLSFiles(dir string) (*TLSFiles, error) {
	f := &TLSFiles{
		CA:         filepath.Join(dir, "ca.pem"),
		ServerCert: filepath.Join(dir, "server.pem"), ServerKey: filepath.Join(dir, "server.key"),
		ClientCert: filepath.Join(dir, "client.pem"), ClientKey: filepath.Join(dir, "client.key"),
	}
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "redstart test authority"},
		IsCA:    true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caKey, err := issue(authority, authority, nil, f.CA, filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "redstart test server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:    []string{"localhost"},
	}
	if _, err := issue(server, authority, caKey, f.ServerCert, f.ServerKey); err != nil {
		return nil, err
	}
	client := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "redstart test client"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, err = issue(client, authority, caKey, f.ClientCert, f.ClientKey)
	return f, err
}

// issue signs a certificate, and writes it and its new key. Without the key of a signer the
// certificate is self-signed.
func issue(cert, signer *x509.Certificate, signerKey *ecdsa.PrivateKey, certFile, keyFile string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signerKey == nil {
		signerKey = key
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	cert.SerialNumber = serial
	cert.NotBefore = time.Now().Add(-time.Hour)
	cert.NotAfter = time.Now().Add(24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, signer, &key.PublicKey, signerKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return key, writePEM(keyFile, "PRIVATE KEY", keyDER)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
