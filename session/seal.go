package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// A body starts with its format: 'p' for plain, or 'e' for encrypted. An encrypted body has the
// name of the key (4 bytes), a random nonce (12 bytes) and the AES-256-GCM ciphertext. Each session
// has its own AES key. It is derived from the configured key and the address of the session, so
// that random nonces can't exhaust a key.
//
// The additional data binds a body to its record: index key (with namespace and manager name), id,
// kind, version, idle time, link and the hash of the secret. The body contains the latest possible
// deadline. An attacker who can write to the server but lacks the key can't do the following: give
// a user the data of another user, set their own token for a session, or prolong a session past its
// Lifetime by more than two minutes. The attacker can restore an older state of the same session,
// and keep it in use until its Lifetime.
const (
	bodyPlain     = 'p'
	bodyEncrypted = 'e'

	keySize     = 32
	keyNameSize = 4
	nonceSize   = 12
)

type sealer struct {
	keys       []sealKey // the first key encrypts, all keys decrypt
	allowPlain bool
}

type sealKey struct {
	name   [keyNameSize]byte
	secret []byte
}

var (
	errPlain    = errors.New("the record is not encrypted")
	errNoKey    = errors.New("the record is encrypted with a key that is not configured")
	errTampered = errors.New("the record was changed, or belongs to another session")
)

func newSealer(keys [][]byte, allowPlain bool) sealer {
	s := sealer{allowPlain: allowPlain || len(keys) == 0}
	for _, secret := range keys {
		k := sealKey{secret: bytes.Clone(secret)}
		sum := sha256.Sum256(append([]byte("redstart session key name\x00"), secret...))
		copy(k.name[:], sum[:])
		s.keys = append(s.keys, k)
	}
	return s
}

// binding is the additional data of a body.
type binding struct {
	index   string
	id      string
	kind    byte
	version string
	idle    int64 // ms
	link    string
	hash    string
}

func (p binding) additional() []byte {
	b := make([]byte, 0, len(p.index)+len(p.id)+3+len(p.version)+13+len(p.link)+len(p.hash))
	b = append(b, formatVersion)
	b = append(b, p.index...)
	b = append(b, 0)
	b = append(b, p.id...)
	b = append(b, p.kind)
	b = append(b, p.version...)
	b = fmt.Appendf(b, "%013d", p.idle)
	b = append(b, p.link...)
	return append(b, p.hash...)
}

// seal encodes and encrypts a payload.
func (s sealer) seal(at binding, p *payload) (string, error) {
	size := p.size()
	if len(s.keys) == 0 {
		return string(p.append(append(make([]byte, 0, size+1), bodyPlain))), nil
	}
	k := s.keys[0]
	aead, err := k.aead(at)
	if err != nil {
		return "", err
	}
	b := make([]byte, 0, 1+keyNameSize+nonceSize+size+aead.Overhead())
	b = append(append(b, bodyEncrypted), k.name[:]...)
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	b = append(b, nonce[:]...)
	return string(aead.Seal(b, nonce[:], p.append(make([]byte, 0, size)), at.additional())), nil
}

// open decrypts and decodes a body. oldKey reports that it was not encrypted with the first key.
func (s sealer) open(at binding, body string) (p payload, oldKey bool, err error) {
	if body == "" {
		return payload{}, false, errMalformed
	}
	switch body[0] {
	case bodyPlain:
		if !s.allowPlain {
			return payload{}, false, errPlain
		}
		p, err = parsePayload(body[1:])
		return p, len(s.keys) > 0, err
	case bodyEncrypted:
		if len(body) < 1+keyNameSize+nonceSize {
			return payload{}, false, errMalformed
		}
		name, nonce, sealed := body[1:1+keyNameSize], body[1+keyNameSize:1+keyNameSize+nonceSize], body[1+keyNameSize+nonceSize:]
		for i, k := range s.keys {
			if string(k.name[:]) != name {
				continue
			}
			aead, err := k.aead(at)
			if err != nil {
				return payload{}, false, err
			}
			text, err := aead.Open(nil, []byte(nonce), []byte(sealed), at.additional())
			if err != nil {
				return payload{}, false, errTampered
			}
			p, err = parsePayload(string(text))
			return p, i > 0, err
		}
		return payload{}, false, errNoKey
	}
	return payload{}, false, errMalformed
}

func (k sealKey) aead(at binding) (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte("redstart session record\x00"))
	mac.Write([]byte(at.index))
	mac.Write([]byte{0})
	mac.Write([]byte(at.id))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
