#pragma once

#include "outrider/storage_forms/storage_form.h"

namespace outrider {

// The rows of the table in storage_form.cc; access them through storage_form().
extern const StorageFormSpec kPlainForm;
extern const StorageFormSpec kFp8BlockForm;
extern const StorageFormSpec kMxfp4Form;
extern const StorageFormSpec kW4A16Form;
extern const StorageFormSpec kNvfp4Form;
extern const StorageFormSpec kNvfp4ModeloptForm;

}  // namespace outrider
