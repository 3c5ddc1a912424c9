#include "base/fail.h"
#include "transport/state.h"

namespace tamis::server {
namespace {

/// HTTP/1.1 is all that is spoken here (RFC 7301: a client that offers none of ours is told so).
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned offered_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

std::shared_ptr<boost::asio::ssl::context> make_tls(const TlsFiles& files) {
  using boost::asio::ssl::context;
  for (const std::filesystem::path& file : {files.certificate, files.key}) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error)) {
      fail(ErrorCode::kNotFound, "TLS: {}: there is no such file", file.string());
    }
  }
  auto out = std::make_shared<context>(context::tls_server);
  out->set_options(context::default_workarounds | context::no_sslv2 | context::no_sslv3 |
                   context::no_tlsv1 | context::no_tlsv1_1 | context::single_dh_use);
  // OpenSSL's own would ask at the terminal.
  const auto encrypted = std::make_shared<bool>(false);
  out->set_password_callback([encrypted](size_t, context::password_purpose) {
    *encrypted = true;
    return std::string();
  });
  SSL_CTX_set_alpn_select_cb(out->native_handle(), choose_protocol, nullptr);
  boost::system::error_code error;
  out->use_certificate_chain_file(files.certificate.string(), error);
  if (error) {
    fail(ErrorCode::kInvalidArgument, "TLS: {}: {}", files.certificate.string(), error.message());
  }
  out->use_private_key_file(files.key.string(), context::pem, error);
  if (*encrypted) {
    fail(ErrorCode::kInvalidArgument,
         "TLS: the key {} is encrypted; expected one without a password, readable by the server "
         "alone",
         files.key.string());
  }
  if (error) fail(ErrorCode::kInvalidArgument, "TLS: {}: {}", files.key.string(), error.message());
  if (SSL_CTX_check_private_key(out->native_handle()) != 1) {
    fail(ErrorCode::kInvalidArgument, "TLS: the key {} does not belong to the certificate {}",
         files.key.string(), files.certificate.string());
  }
  return out;
}

}  // namespace tamis::server
