#include "base/fail.h"
#include "transport/state.h"

namespace tamis::server {

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
  boost::system::error_code error;
  out->use_certificate_chain_file(files.certificate.string(), error);
  if (error) {
    fail(ErrorCode::kInvalidArgument, "TLS: {}: {}", files.certificate.string(), error.message());
  }
  out->use_private_key_file(files.key.string(), context::pem, error);
  if (error) fail(ErrorCode::kInvalidArgument, "TLS: {}: {}", files.key.string(), error.message());
  if (SSL_CTX_check_private_key(out->native_handle()) != 1) {
    fail(ErrorCode::kInvalidArgument, "TLS: the key {} does not belong to the certificate {}",
         files.key.string(), files.certificate.string());
  }
  return out;
}

}  // namespace tamis::server
