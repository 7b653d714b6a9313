package fault

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

const (
	stepTLS       = "check REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE, REDIS_TLS_KEY_FILE and REDIS_TLS_SERVER_NAME"
	stepPlain     = "the server speaks no TLS on this port: use its TLS port, or a redis:// URL"
	stepNode      = "the cluster has no node for this slot now: retry after the failover"
	stepNoReplies = "the server lacks RESP3 or client tracking, or the ACL refuses them"
)

// neverSent recognises errors from before a command can be sent: no connection was made, or its
// handshake failed.
func neverSent(err error) (v verdict, ok bool) {
	switch {
	case errors.Is(err, rueidis.ErrNoSlot), errors.Is(err, rueidis.ErrNoAddr):
		return verdict{ErrUnavailable, stepNode}, true
	case errors.Is(err, rueidis.ErrDedicatedClientRecycled):
		return verdict{ErrUnavailable, stepClosed}, true
	case errors.Is(err, rueidis.ErrNoCache):
		// The text is the server's answer to a command of the handshake.
		v = classifyReply(err.Error())
		if v.class == nil {
			v.step = stepNoReplies
		}
		return v, true
	case errors.Is(err, rueidis.ErrRESP2PubSubMixed):
		return verdict{nil, stepNoReplies}, true
	}
	if v, ok = handshake(err); ok {
		return v, true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return verdict{ErrUnavailable, stepReach}, true
	}
	if is[*net.DNSError](err) || errors.Is(err, syscall.ECONNREFUSED) {
		return verdict{ErrUnavailable, stepReach}, true
	}
	return verdict{}, false
}

// handshake recognises a failed TLS handshake. If one side refuses a certificate, the class is
// ErrDenied, because a retry does not help.
func handshake(err error) (v verdict, ok bool) {
	switch {
	case is[tls.RecordHeaderError](err):
		return verdict{ErrUnavailable, stepPlain}, true
	case is[*tls.CertificateVerificationError](err), is[x509.UnknownAuthorityError](err), is[x509.HostnameError](err),
		is[x509.CertificateInvalidError](err), is[x509.SystemRootsError](err):
		return verdict{ErrDenied, stepTLS}, true
	}
	// In TLS 1.3, the server refuses a client certificate after the client's part of the handshake.
	// The alert arrives with the first read, before any command of the user. The type of a remote
	// alert is not exported, so its text is compared.
	if alert, ok := errors.AsType[tls.AlertError](err); ok && slices.Contains(handshakeAlerts(), alert) {
		return verdict{ErrDenied, stepTLS}, true
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		for _, alert := range handshakeAlerts() {
			if remote.Err.Error() == alert.Error() {
				return verdict{ErrDenied, stepTLS}, true
			}
		}
	}
	return verdict{}, false
}

// handshakeAlerts returns the alerts that can only end a handshake (RFC 8446, section 6.2).
func handshakeAlerts() []tls.AlertError {
	return []tls.AlertError{
		40,                 // handshake_failure
		42, 43, 44, 45, 46, // bad, unsupported, revoked, expired, unknown certificate
		47,     // illegal_parameter
		48, 49, // unknown_ca, access_denied
		51,     // decrypt_error: a signature that does not verify
		70, 71, // protocol_version, insufficient_security
		86,       // inappropriate_fallback
		109, 110, // missing, unsupported extension
		112,      // unrecognized_name
		115, 116, // unknown_psk_identity, certificate_required
		120, // no_application_protocol
	}
}

// unreadable recognises a complete reply of an unexpected shape.
func unreadable(err error) bool {
	if rueidis.IsParseErr(err) || is[*strconv.NumError](err) || is[*json.SyntaxError](err) || is[*json.UnmarshalTypeError](err) {
		return true
	}
	text := err.Error()
	return strings.HasPrefix(text, "got ") || strings.HasPrefix(text, "redis message ")
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// is reports whether err's tree has an error of type E.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
