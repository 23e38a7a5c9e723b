// Images that come with some requests: pixels from the host, and the embeddings that a vision encoder makes of them on the
// device, for the kernels of the request's prompt to read. The content follows from the image's number alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "random.hpp"

namespace decode_replay {

constexpr std::size_t kPixelBytes = 48 * 1024;      // 128 x 128 pixels of 3 bytes
constexpr std::size_t kEmbeddingBytes = 16 * 1024;  // 32 tokens of 256 values of 2 bytes
constexpr std::size_t kPixelWords = kPixelBytes / sizeof(std::uint64_t);
constexpr std::size_t kEmbeddingWords = kEmbeddingBytes / sizeof(std::uint64_t);

inline void draw_pixels(std::uint64_t image, std::uint64_t* pixels) {
  for (std::size_t i = 0; i < kPixelWords; ++i) {
    pixels[i] = mix(image + i);
  }
}

// The stand-in for the encoder: every bit of the pixels moves the embeddings.
inline void encode_pixels(const std::uint64_t* pixels, std::uint64_t* embeddings) {
  constexpr std::size_t each = kPixelWords / kEmbeddingWords;
  for (std::size_t i = 0; i < kEmbeddingWords; ++i) {
    std::uint64_t value = 0;
    for (std::size_t j = 0; j < each; ++j) {
      value = mix(value ^ pixels[i * each + j]);
    }
    embeddings[i] = value;
  }
}

// What the model makes of embeddings: it goes into the token that it samples.
inline std::uint64_t meaning_of(const std::uint64_t* embeddings) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kEmbeddingWords; ++i) {
    value = mix(value ^ embeddings[i]);
  }
  return value;
}

}  // namespace decode_replay
