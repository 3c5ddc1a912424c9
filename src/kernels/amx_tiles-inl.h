// How both AMX kernels use the eight tiles, of 16 rows of 64 bytes: 0 to 3 are sums of 2 x 2 blocks
// of 16 x 16, 4 and 5 hold rows of A, 6 and 7 columns of B. Included by each file inside its
// HWY_PUSH_ATTRIBUTES.

namespace tamis::kernels {
namespace {

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// Not on the stack: g++ 12 believes that the instruction reads 8 bytes, and drops the other stores.
alignas(64) const TileConfig kTiles;

inline void configure_tiles() { _tile_loadconfig(&kTiles); }

}  // namespace
}  // namespace tamis::kernels
